"""``histoproto patches``: training patches from whole slides."""

import json as json_text
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.commands.patch_cutting import COLUMNS, Cutting, cut_slide, require_same_size, rows_of
from histoproto.errors import ConfigError, DataError, HistoprotoError

if TYPE_CHECKING:
    import pandas as pd

    from histoproto.taxonomy import Taxonomy

PARTLY_DONE = 3
LABELS, TAXONOMY = "labels.csv", "taxonomy.json"


def patches(
    inputs: list[Path],
    /,
    *,
    out: Path,
    mpp: float = 1.0,
    size_px: int = 224,
    per_slide: int | None = None,
    tissue: float = 0.5,
    region: Path | None = None,
    classes: str | None = None,
    taxonomy: Path | None = None,
    assume_mpp: float | None = None,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Cut training patches from slides, and a table in which to tick what each one shows.

    Patches lie on a grid over tissue, evenly over the slide if --per-slide takes only some. Blurred ones and those
    with pen marks are left out. OUT/patches/NAME holds those of each slide, and OUT/labels.csv a row for each patch:
    where it was cut, how much of it is tissue, how sharp it is, and one empty column per class.

    Then fill in 1 where a patch shows the class and 0 where not, delete rows that you do not label, and import:

        histoproto data import folder OUT --out OUT --taxonomy OUT/taxonomy.json

    Slides whose patches are there are skipped, so a killed command goes on where it was, and slides can be added
    later. What stands in labels.csv is never changed; rows of new slides are added below.

    Args:
        inputs: Slides, folders of them, or CSV tables with the columns path and, for slides that do not say it, mpp.
        out: Folder of the patches, which becomes the study.
        mpp: Microns per pixel of the patches; 0.5 for nuclei, 1 or 2 for tissue. Slides may be finer, never coarser.
        size_px: Side of a patch.
        per_slide: At most so many patches of each slide, chosen at random. [default: all]
        tissue: Least share of tissue in a patch.
        region: Cut there only: a GeoJSON file of QuPath, or a folder with one per slide (histoproto slides tissue).
        classes: Class names in label order, for example TUM,STR.
        taxonomy: A taxonomy.json instead of --classes, with titles and colours.
        assume_mpp: Microns per pixel of slides that do not say.
        seed: Of the random choice; a slide's patches do not depend on the other slides.
        json: Print what was found as JSON.

    Returns:
        0; 3 if some slides failed, which are listed.
    """
    from histoproto.atomic import write_json
    from histoproto.commands.regions_of_interest import require_own_regions
    from histoproto.commands.slide_files import require_assumed_mpp, slide_files

    require_assumed_mpp(assume_mpp)
    cutting = Cutting(mpp, size_px, per_slide, tissue, seed, assume_mpp)
    known = _taxonomy(out, classes, taxonomy)
    files = slide_files(inputs)
    if region is not None:
        require_own_regions(region, list(files))
    require_same_size(out, cutting)
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for file, own_mpp in files.items():
        try:
            found[file.stem] = cut_slide(out, file, replace(cutting, assume_mpp=own_mpp or assume_mpp), region)
        except HistoprotoError as error:
            if len(files) == 1:
                raise
            failed[str(file)] = str(error)
    if known is not None:
        write_json(out / TAXONOMY, known.to_dict())
    count = _add_rows(out, list(found), known)
    if json:
        sys.stdout.write(json_text.dumps({"rows": count, "found": found, "failed": failed}, indent=2) + "\n")
    else:
        _show(found, failed, out, count, known)
    return PARTLY_DONE if failed else 0


def _taxonomy(out: Path, classes: str | None, file: Path | None) -> "Taxonomy | None":
    """Return the classes asked for, else those that the study has."""
    from histoproto.data.image_folder import make_taxonomy, read_taxonomy

    if classes and file:
        raise ConfigError("give the classes with --classes or with --taxonomy, not with both")
    if classes:
        taxonomy = make_taxonomy(out.resolve().name, classes)
    elif file or (out / TAXONOMY).is_file():
        taxonomy = read_taxonomy(file or out / TAXONOMY)
    else:
        return None
    taken = [name for name in taxonomy.classes if name in (*COLUMNS, "split", "labels", "mask", "filename")]
    if taken:
        raise ConfigError(f"a class cannot be called {taken[0]}, which is a column of {LABELS}; choose another name")
    return taxonomy


def _add_rows(out: Path, names: list[str], taxonomy: "Taxonomy | None") -> int:
    """Add the rows of slides that the table of labels does not know; return how many rows it has then."""
    import pandas as pd

    from histoproto.atomic import replacing

    file = out / LABELS
    classes = list(taxonomy.classes) if taxonomy else []
    head, *rest = COLUMNS
    table, separator = _read_table(file) if file.is_file() else (pd.DataFrame(columns=[head, *classes, *rest]), ",")
    listed = {path.rpartition("/")[0] for path in table[head]}
    cut = [(name, rows_of(out, name)) for name in names]
    new = [rows for name, rows in cut if len(rows) and rows[head].iloc[0].rpartition("/")[0] not in listed]
    if new:
        columns = [*table.columns, *(name for name in (*classes, *rest) if name not in table.columns)]
        table = pd.concat([table, *new]).reindex(columns=columns).fillna("")
        with replacing(file) as temporary:
            table.to_csv(temporary, index=False, sep=separator, lineterminator="\n")
    return len(table)


def _read_table(file: Path) -> "tuple[pd.DataFrame, str]":
    """Return a table that somebody may have filled in, as text, and what separates its columns."""
    import pandas as pd

    try:
        with file.open(encoding="utf-8-sig") as handle:
            first = handle.readline()
        separator = ";" if first.count(";") > first.count(",") else ","
        table = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a CSV table ({error}); save it as CSV in UTF-8") from None
    if COLUMNS[0] not in table.columns:
        raise DataError(f"{file}: no column {COLUMNS[0]}, which names the patch of a row; put it back")
    return table, separator


def _show(found: dict[str, Any], failed: dict[str, str], out: Path, count: int, known: "Taxonomy | None") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from histoproto.commands.slide_files import print_failures

    console = Console()
    table = Table(title=Text(f"{out}: {count} patches in {LABELS}"))
    for column in ("slide", "places with tissue", "blurred", "ink", "patches", "state"):
        table.add_column(column, justify="left" if column in ("slide", "state") else "right")
    for name, entry in found.items():
        numbers = (str(entry[column]) for column in ("places", "blurred", "ink", "patches"))
        table.add_row(Text(name), *numbers, "kept" if entry["kept"] else "new")
    if found:
        console.print(table)
    print_failures(failed)
    if not found:
        return
    if not count:
        say_next("take a smaller --tissue, a smaller --size-px or other slides: there are no patches")
        return
    columns = ", ".join(known.classes) if known else "a column per class"
    following = f"--taxonomy {out / TAXONOMY}" if known else "--classes TUM,STR"
    say_next(
        f"fill in {columns} with 0 and 1 in {out / LABELS}, then: "
        f"histoproto data import folder {out} --out {out} {following}"
    )
