"""Cut the patches of one slide into a folder of its own."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from histoproto.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from jaxtyping import UInt8

    from histoproto.contracts import SlideReader
    from histoproto.formats.qupath import QuPathObject
    from histoproto.progress import Advance
    from histoproto.slides.pages import PagedReader
    from histoproto.slides.patch_choice import Candidate

PATCHES = "patches"
"""Folder of a study that holds one folder per slide."""
RECORD, ROWS = "slide.json", "patches.csv"
COLUMNS = ("path", "group", "mpp", "slide", "x_px", "y_px", "tissue_share", "sharpness")
"""Of a row; x_px and y_px are the patch's upper left corner in pixels of the slide's finest page."""
MOST_INK = 0.2
"""Largest share of a patch that may be ink, 0..1; blue nuclei can look like ink in up to 0.16."""


@dataclass(frozen=True)
class Cutting:
    """What patches are cut like."""

    mpp: float
    size_px: int
    per_slide: int | None
    """At most so many; None for all."""
    tissue: float
    """Least share of tissue."""
    seed: int
    assume_mpp: float | None

    def __post_init__(self) -> None:
        if not 0.05 <= self.mpp <= 50:
            raise ConfigError(f"--mpp {self.mpp:g}: give microns per pixel from 0.05 to 50, for example 1.0")
        if self.size_px < 32:
            raise ConfigError(f"--size-px {self.size_px}: give 32 or more, for example 224")
        if self.per_slide is not None and self.per_slide < 1:
            raise ConfigError(f"--per-slide {self.per_slide}: give 1 or more, or leave it out for all patches")
        if not 0 < self.tissue <= 1:
            raise ConfigError(f"--tissue {self.tissue:g}: give a share above 0 and up to 1, for example 0.5")


class Cut(NamedTuple):
    """A patch that is good enough."""

    place: "Candidate"
    rgb: "UInt8[np.ndarray, 'size size 3']"
    sharpness: float


def cut_slide(study: Path, slide: Path, cutting: Cutting, region: Path | None) -> dict[str, Any]:
    """Cut a slide's patches into ``STUDY/patches/NAME``, unless they are there; return what was found.

    The folder appears whole or not at all. It holds the patches, ``patches.csv`` with a row for each, and
    ``slide.json`` with what they were made of.

    Args:
        study: receives the folder.
        slide: the slide.
        cutting: how.
        region: GeoJSON file or folder, or None.

    Raises:
        DataError: if the slide or its regions cannot be read, it is coarser than the patches shall be, or the folder
            holds patches cut in another way.
    """
    from histoproto.commands.regions_of_interest import read_regions

    folder = study / PATCHES / slide.stem
    regions = None if region is None else read_regions(region, slide)
    shapes = None if regions is None else sorted(entry.geometry.wkt for entry in regions)
    made_of = {**asdict(cutting), "region": None if shapes is None else _digest(shapes), "bytes": slide.stat().st_size}
    if (folder / RECORD).is_file():
        record = _read_record(folder)
        _require_same(folder, record["made_of"], made_of)
        return {**record["found"], "kept": True}
    return {**_cut(folder, slide, cutting, regions, made_of), "kept": False}


def require_same_size(study: Path, cutting: Cutting) -> None:
    """Check that patches will look like those that a study has.

    Raises:
        DataError: if they are of another size or resolution.
    """
    for record in sorted((study / PATCHES).glob(f"*/{RECORD}"))[:1]:
        there = _read_record(record.parent)["made_of"]
        if (there["mpp"], there["size_px"]) != (cutting.mpp, cutting.size_px):
            raise DataError(
                f"{study} holds patches of {there['size_px']} px at {there['mpp']:g} microns per pixel; "
                "cut others into another folder"
            )


def rows_of(study: Path, name: str) -> "pd.DataFrame":
    """Return the rows of a slide's patches as text, with columns ``COLUMNS``; paths are relative to the study."""
    import pandas as pd

    return pd.read_csv(study / PATCHES / name / ROWS, dtype=str, keep_default_na=False)


def _digest(shapes: list[str]) -> str:
    import hashlib

    return hashlib.sha256("\n".join(shapes).encode()).hexdigest()


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{folder / RECORD}: damaged ({error}); remove the folder to cut the slide again") from None
    return record


def _require_same(folder: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    changed = [name for name in wanted if there.get(name) != wanted[name]]
    if not changed:
        return
    words = {"bytes": "another slide", "region": "other regions"}
    what = ", ".join(words.get(name, f"{name} {there.get(name)} instead of {wanted[name]}") for name in changed)
    raise DataError(
        f"{folder} holds patches that were cut differently ({what}); choose another study, or remove that folder and "
        "its rows in labels.csv"
    )


def _cut(
    folder: Path, slide: Path, cutting: Cutting, regions: "list[QuPathObject] | None", made_of: dict[str, Any]
) -> dict[str, Any]:
    import numpy as np

    from histoproto.atomic import replacing_folder, write_json
    from histoproto.commands.regions_of_interest import area_of_interest
    from histoproto.progress import progress_bar
    from histoproto.slides.mpp import require_mpp
    from histoproto.slides.patch_choice import in_even_order, patch_grid
    from histoproto.slides.reader import open_image

    source = open_image(slide, assume_mpp=cutting.assume_mpp)
    try:
        source_mpp = require_mpp(source)
        reader = _at(source, source_mpp, cutting.mpp)
        mpp = reader.mpp or source_mpp
        area = area_of_interest(source, mpp / source_mpp, regions)
        places = patch_grid(reader.width_px, reader.height_px, area, cutting.size_px, cutting.tissue)
        wanted = min(cutting.per_slide or len(places), len(places))
        generator = np.random.default_rng([cutting.seed, *slide.stem.encode()])
        refused = {"blurred": 0, "ink": 0}
        with replacing_folder(folder) as temporary, progress_bar(f"Patches of {slide.name}", wanted) as advance:
            cuts = _good(reader, in_even_order(places, max(1, wanted), generator), refused)
            rows = [_write(temporary, cut, slide, mpp, source_mpp, advance) for cut in islice(cuts, wanted)]
            found = {"places": len(places), **refused, "patches": len(rows)}
            _write_rows(temporary / ROWS, rows)
            write_json(temporary / RECORD, {"slide": slide.name, "made_of": made_of, "found": found})
    finally:
        source.close()
    return found


def _at(source: "PagedReader", source_mpp: float, mpp: float) -> "SlideReader":
    from histoproto.slides.resample import SAME_MPP, at_mpp

    if mpp < source_mpp * (1 - SAME_MPP):
        raise DataError(
            f"{source.path} has {source_mpp:.4g} microns per pixel; patches at {mpp:g} would only be enlarged: "
            f"give --mpp {source_mpp:.4g} or more"
        )
    return at_mpp(source, mpp)


def _good(reader: "SlideReader", places: Iterable["Candidate"], refused: dict[str, int]) -> Iterator[Cut]:
    """Yield the patches that are neither blurred nor drawn upon, and count the others by reason."""
    from histoproto.slides.sharpness import BLURRED, sharpness
    from histoproto.slides.tissue import is_ink

    for place in places:
        rgb = reader.read(place.region)
        sharp = sharpness(rgb)
        if sharp < BLURRED:
            refused["blurred"] += 1
        elif is_ink(rgb).mean() > MOST_INK:
            refused["ink"] += 1
        else:
            yield Cut(place, rgb, sharp)


def _write(folder: Path, cut: Cut, slide: Path, mpp: float, source_mpp: float, advance: "Advance") -> tuple[str, ...]:
    """Write a patch and return its row."""
    from PIL import Image

    from histoproto.data.filenames import tcga_patient

    region = cut.place.region
    x_px, y_px = round(region.x_px * mpp / source_mpp), round(region.y_px * mpp / source_mpp)
    name = f"{slide.stem}_x{x_px:06d}_y{y_px:06d}.png"
    Image.fromarray(cut.rgb).save(folder / name)
    advance(1)
    group = tcga_patient(slide.name) or slide.stem
    where = (f"{PATCHES}/{slide.stem}/{name}", group, f"{mpp:.6g}", slide.name, str(x_px), str(y_px))
    return (*where, f"{cut.place.tissue_share:.3f}", f"{cut.sharpness:.3f}")


def _write_rows(file: Path, rows: list[tuple[str, ...]]) -> None:
    import pandas as pd

    pd.DataFrame(sorted(rows), columns=list(COLUMNS)).to_csv(file, index=False, lineterminator="\n")
