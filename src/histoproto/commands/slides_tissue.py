"""``histoproto slides tissue``: outlines of the tissue, to be looked at and edited."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import HistoprotoError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8
    from PIL import Image
    from shapely import Polygon

PARTLY_DONE = 3
LONGEST_PX = 2048
"""Longer side of the picture."""
OUTLINE = (0, 140, 60)
"""Green, which is no colour of H&E."""


def slides_tissue(
    inputs: list[Path],
    /,
    *,
    out: Path,
    assume_mpp: float | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Find the tissue of slides and write its outlines, which QuPath can show and edit.

    For each slide OUT/NAME.geojson holds the outlines and OUT/NAME.png shows them on the slide. Drag the GeoJSON file
    onto the slide in QuPath, move, add or delete outlines, and export the objects as GeoJSON under the same name; then
    give OUT as --region to histoproto predict or histoproto patches. Files that are there are kept, since somebody
    may have edited them.

    Tissue is what haematoxylin and eosin have stained. Glass, shadows and green, blue and black ink are left out, and
    so are pieces and holes below 0.01 square millimetres (a disc of 113 microns).

    Args:
        inputs: Slides, folders of them, or CSV tables with the columns path and, for slides that do not say it, mpp.
        out: Folder of the outlines.
        assume_mpp: Microns per pixel of slides that do not say.
        force: Make outlines again that are there; what was edited is lost.
        json: Print what was found as JSON.

    Returns:
        0; 3 if some slides failed, which are listed.
    """
    from histoproto.commands.regions_of_interest import region_files
    from histoproto.commands.slide_files import require_assumed_mpp, slide_files
    from histoproto.progress import progress_bar
    from histoproto.slides.areas import require_polygons

    require_polygons()
    require_assumed_mpp(assume_mpp)
    files = slide_files(inputs)
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    with progress_bar("Looking for tissue", len(files)) as advance:
        for file, mpp in files.items():
            there = region_files(out, file)
            try:
                kept = {"kept": str(there[0])} if there and not force else None
                found[file.stem] = kept or _outline(file, out, mpp or assume_mpp)
            except HistoprotoError as error:
                if len(files) == 1:
                    raise
                failed[str(file)] = str(error)
            advance(1)
    if json:
        sys.stdout.write(json_text.dumps({"found": found, "failed": failed}, indent=2) + "\n")
    else:
        _show(found, failed, out)
    return PARTLY_DONE if failed else 0


def _outline(file: Path, out: Path, assume_mpp: float | None) -> dict[str, Any]:
    """Write picture and outlines of one slide; the outlines come last and say that both are there."""
    import numpy as np
    import shapely

    from histoproto.atomic import replacing
    from histoproto.commands.regions_of_interest import TISSUE
    from histoproto.formats.qupath import QuPathObject, write_qupath
    from histoproto.slides.areas import outlines, shown_corner
    from histoproto.slides.mpp import require_mpp
    from histoproto.slides.reader import open_image
    from histoproto.slides.resample import thumbnail
    from histoproto.slides.tissue import tissue_of

    reader = open_image(file, assume_mpp=assume_mpp)
    try:
        mpp = require_mpp(reader)
        polygons = outlines(tissue_of(reader), reader.width_px, reader.height_px)
        picture = draw_outlines(thumbnail(reader, LONGEST_PX), polygons, max(reader.width_px, reader.height_px))
    finally:
        reader.close()
    with replacing(out / f"{file.stem}.png") as temporary:
        picture.save(temporary, format="PNG")
    corner = np.array(shown_corner(reader))
    moved = [shapely.transform(piece, lambda points: points - corner) for piece in polygons]
    target = out / f"{file.stem}.geojson"
    of_slide = {"slide": file.name}
    write_qupath(target, [QuPathObject(piece, name=TISSUE, colour=OUTLINE, metadata=of_slide) for piece in moved])
    area_px = sum(piece.area for piece in polygons)
    return {
        "outlines": str(target),
        "pieces": len(polygons),
        "area_mm2": area_px * (mpp / 1000) ** 2,
        "share": area_px / (reader.width_px * reader.height_px),
    }


def draw_outlines(
    rgb: "UInt8[np.ndarray, 'height width 3']", polygons: "list[Polygon]", longest_px: int
) -> "Image.Image":
    """Return a thumbnail with outlines drawn on it.

    Args:
        rgb: the whole slide.
        polygons: in pixels of the finest page.
        longest_px: longer side of the finest page.
    """
    import shapely
    from PIL import Image, ImageDraw

    picture = Image.fromarray(rgb)
    draw = ImageDraw.Draw(picture)
    scale = max(rgb.shape[:2]) / longest_px
    for polygon in polygons:
        for ring in (polygon.exterior, *polygon.interiors):
            points = [(x, y) for x, y in shapely.get_coordinates(ring) * scale]
            draw.line(points, fill=OUTLINE, width=max(2, round(max(picture.size) / 700)), joint="curve")
    return picture


def _show(found: dict[str, Any], failed: dict[str, str], out: Path) -> None:
    from histoproto.commands.slide_files import print_failures

    if found:
        _show_found(found, out)
    print_failures(failed)
    if found:
        say_next(
            f"look at {out}/*.png, mend the outlines in QuPath, and give --region {out} to histoproto predict or "
            "patches"
        )


def _show_found(found: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(title=Text(f"{out}: tissue"))
    for column in ("slide", "pieces", "mm2", "share of slide"):
        table.add_column(column, justify="left" if column == "slide" else "right")
    for name, entry in found.items():
        if "kept" in entry:
            table.add_row(Text(name), "kept", "", "")
        else:
            table.add_row(Text(name), str(entry["pieces"]), f"{entry['area_mm2']:.3g}", f"{entry['share']:.1%}")
    console.print(table)
    empty = [name for name, entry in found.items() if entry.get("pieces") == 0]
    if empty:
        others = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        console.print(f"Note: {empty[0]}{others}: no tissue found.", soft_wrap=True, markup=False, highlight=False)
