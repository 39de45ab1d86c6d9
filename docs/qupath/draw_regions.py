"""Draw the regions of a GeoJSON file over their slide, filled and outlined in the colours of their classes.

usage: python docs/qupath/draw_regions.py SLIDE regions.geojson.gz PICTURE [--longest 900]
"""

import argparse
from pathlib import Path

import numpy as np
import shapely
from PIL import Image, ImageDraw

from histoproto.formats.qupath import read_qupath
from histoproto.slides.areas import shown_corner
from histoproto.slides.reader import open_image
from histoproto.slides.resample import thumbnail

FILL = 70
"""Opacity of a region, 0 to 255."""


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("regions", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--longest", type=int, default=900, help="longer side of the picture in pixels")
    options = parser.parse_args()
    reader = open_image(options.slide)
    rgb = thumbnail(reader, options.longest)
    reader.close()
    scale, corner = rgb.shape[1] / reader.width_px, np.array(shown_corner(reader))
    fills = Image.new("RGBA", (rgb.shape[1], rgb.shape[0]))
    lines = fills.copy()
    for region in read_qupath(options.regions):
        colour = region.colour or (128, 128, 128)
        for part in shapely.get_parts(region.geometry):
            outer, *holes = [
                [tuple(point) for point in (shapely.get_coordinates(ring) + corner) * scale]
                for ring in (part.exterior, *part.interiors)
            ]
            shape = Image.new("L", fills.size)
            draw = ImageDraw.Draw(shape)
            draw.polygon(outer, fill=FILL)
            for hole in holes:
                draw.polygon(hole, fill=0)
            fills.paste((*colour, FILL), mask=shape.point(lambda value: 255 if value else 0))
            for ring in (outer, *holes):
                ImageDraw.Draw(lines).line(ring, fill=(*colour, 255), width=1)
    drawn = Image.alpha_composite(Image.alpha_composite(Image.fromarray(rgb).convert("RGBA"), fills), lines)
    drawn.convert("RGB").save(options.picture, quality=88)


if __name__ == "__main__":
    main()
