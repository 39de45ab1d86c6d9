"""Which part of a slide counts: where there is tissue, where somebody has drawn, or both."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Bool, Int64

from histoproto.contracts import Region
from histoproto.errors import ConfigError
from histoproto.slides.pages import PagedReader
from histoproto.slides.tissue import Tissue

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

    Areal: TypeAlias = Polygon | MultiPolygon

_MARGIN_PX = 2
"""Pixels around a region that polygons are cut to before they are drawn into it."""


class AreaOfInterest:
    """What counts of a slide, asked region by region at the resolution of one reader.

    A pixel counts where its centre lies on tissue and in a polygon; what is not given does not restrict. Answers are
    the same for a region alone and as a part of a larger one. Memory grows with the region, never with the slide.
    """

    def __init__(
        self, scale: float, *, tissue: Tissue | None = None, polygons: "Sequence[Areal] | None" = None
    ) -> None:
        """Restrict to tissue, to polygons, or to tissue in polygons.

        Args:
            scale: pixels of the slide's finest page per pixel of the reader, whose regions will be asked for.
            tissue: where the slide shows tissue.
            polygons: in pixels of the finest page; they may overlap. An empty list leaves nothing.

        Raises:
            ConfigError: if polygons are given and shapely or rasterio is not installed.
        """
        self._scale = scale
        self._tissue = tissue
        self._drawn = None if polygons is None else _Drawn(polygons)

    def touches(self, region: Region) -> bool:
        """Return whether any pixel of a region counts, as ``pixels(region).any()`` but sooner.

        Args:
            region: in pixels of the reader.
        """
        if self._tissue is not None and not self._tissue_in(self._tissue, region, once=True).any():
            return False
        return self._drawn is None or (self._drawn.is_near(region, self._scale) and bool(self.pixels(region).any()))

    def pixels(self, region: Region) -> Bool[np.ndarray, "height width"]:
        """Return which pixels of a region count.

        Args:
            region: in pixels of the reader; beyond the slide's border tissue goes on as it ends.
        """
        if self._tissue is None:
            counting = np.ones((region.height_px, region.width_px), bool)
        else:
            counting = self._tissue_in(self._tissue, region, once=False)
        if self._drawn is not None and counting.any():
            counting &= self._drawn.pixels(region, self._scale)
        return counting

    def _tissue_in(self, tissue: Tissue, region: Region, *, once: bool) -> Bool[np.ndarray, "_height _width"]:
        """Return the mask's value at each pixel, or ``once`` for each row and column of the mask that pixels meet."""
        mask, cells_per_px = tissue.mask, self._scale / tissue.cell_px
        rows = _cells(region.y_px, region.height_px, cells_per_px, mask.shape[0])
        columns = _cells(region.x_px, region.width_px, cells_per_px, mask.shape[1])
        if once:
            rows, columns = np.unique(rows), np.unique(columns)
        return np.asarray(mask[np.ix_(rows, columns)])


def _cells(start_px: int, length_px: int, cells_per_px: float, cells: int) -> Int64[np.ndarray, " _length"]:
    centres = np.arange(start_px, start_px + length_px) + 0.5
    return (centres * cells_per_px).astype(np.int64).clip(0, cells - 1)


class _Drawn:
    """Polygons that find out which of them a region meets."""

    def __init__(self, polygons: "Sequence[Areal]") -> None:
        require_polygons()
        import shapely

        self._polygons = np.array([part for polygon in polygons for part in shapely.get_parts(polygon)], object)
        self._tree = shapely.STRtree(self._polygons)

    def is_near(self, region: Region, scale: float) -> bool:
        """Return whether the bounding box of any polygon meets a region."""
        import shapely

        return len(self._tree.query(shapely.box(*_box(region, scale)))) > 0

    def pixels(self, region: Region, scale: float) -> Bool[np.ndarray, "height width"]:
        """Return which pixels have their centre in a polygon."""
        import shapely
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        box = _box(region, scale)
        near = self._polygons[np.sort(self._tree.query(shapely.box(*box)))]
        # A polygon of a slide may have a hundred thousand corners; drawn are those near the region alone.
        parts = [part for part in shapely.get_parts(shapely.clip_by_rect(near, *box)) if part.geom_type == "Polygon"]
        shape = region.height_px, region.width_px
        if not parts:
            return np.zeros(shape, bool)
        place = Affine(scale, 0, region.x_px * scale, 0, scale, region.y_px * scale)
        return np.asarray(rasterize(parts, shape, transform=place, dtype=np.uint8), bool)


def _box(region: Region, scale: float) -> tuple[float, float, float, float]:
    """Return a region with a margin in pixels of the finest page: left, top, right, below."""
    left, top = region.x_px - _MARGIN_PX, region.y_px - _MARGIN_PX
    right, below = region.x_px + region.width_px + _MARGIN_PX, region.y_px + region.height_px + _MARGIN_PX
    return left * scale, top * scale, right * scale, below * scale


def outlines(tissue: Tissue, width_px: int, height_px: int) -> "list[Polygon]":
    """Return the connected pieces of tissue as polygons with holes, in pixels of the finest page, largest first.

    Corners are those of the mask's cells: drawn again they give the same mask. Pieces touch at corners at most.

    Args:
        tissue: the mask.
        width_px: width of the finest page; the last cells reach to its borders.
        height_px: its height.

    Raises:
        ConfigError: if shapely or rasterio is not installed.
    """
    require_polygons()
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine

    mask = np.pad(tissue.mask, ((0, 1), (0, 1)), mode="edge")  # the thumbnail leaves out a part of a cell
    place = Affine.scale(tissue.cell_px)
    pieces = [shapely.geometry.shape(piece) for piece, _ in shapes(mask.astype(np.uint8), mask, transform=place)]
    page = shapely.box(0, 0, width_px, height_px)
    inside = [part for piece in pieces for part in shapely.get_parts(piece.intersection(page)) if part.area > 0]
    return sorted(inside, key=lambda piece: -piece.area)


def shown_corner(reader: PagedReader) -> tuple[int, int]:
    """Return x and y, in pixels of the finest page, of the corner at which QuPath begins to show a slide.

    Some scanners (3DHISTECH, Hamamatsu) leave a wide margin that was never scanned; QuPath cuts it off and counts from
    there. Its coordinates plus this corner are those of the slide.
    """
    return (
        int(float(reader.properties.get("openslide.bounds-x", "0"))),
        int(float(reader.properties.get("openslide.bounds-y", "0"))),
    )


def require_polygons() -> None:
    """Check that polygons can be read and drawn.

    Raises:
        ConfigError: if a package of the extra ``wsi`` is not installed.
    """
    missing = [name for name in ("rasterio", "shapely") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"regions need {', '.join(missing)}; install with: pip install 'histoproto[wsi]'")
