"""``histoproto explain``."""

import csv
import json as json_text
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError, RunError

if TYPE_CHECKING:
    from PIL import Image

    from histoproto.data.manifest import PatchRecord
    from histoproto.inference.prototypes import Behaviour
    from histoproto.reports.explain import Explanation, Row
    from histoproto.reports.explain_wording import Prototype
    from histoproto.wiring.runs import Run

SCHEMA = "histoproto/prototypes/1"
NEAREST = 6
"""Nearest patches of each prototype."""
EXAMPLES = 6
"""Patches of each class on which activation is shown."""


def explain(
    run: Path,
    /,
    *,
    out: Path | None = None,
    split: str = "train",
    patches: int = 400,
    checkpoint: str = "best",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show what each prototype of a run stands for on real tissue, and warn of those that do no work.

    For each prototype: the patches on which it is strongest, the spot marked, from different slides where possible;
    where it fires on patches of its class; its activation share, that is the part of all places, in patches labelled
    with its class, where it wins among the prototypes of its class. For all pairs: the cosine of the vectors and the
    correlation of the activation maps.

    A prototype with a share below 1 % is called dead, prototypes whose maps correlate by 0.98 or more duplicates, each
    with what to do about it.

    Writes OUT/: prototypes.html (holds its pictures), sheets/ (a PNG per prototype), similarity.png, prototypes.csv
    and prototypes.json.

    Args:
        run: Run folder of histoproto train.
        out: Folder for the results.
            [default: RUN/explain]
        split: Split of the run's study; its patches need labels.
        patches: Look at no more patches than this, drawn evenly over the classes.
        checkpoint: best or last.
        json: Print the figures and warnings as JSON.

    Raises:
        ConfigError: if no patch is asked for.
        RunError: if the study has changed its classes.
    """
    from histoproto.data.manifest import read_study
    from histoproto.inference.nearest import draw_evenly
    from histoproto.inference.prototypes import measure
    from histoproto.progress import progress_bar
    from histoproto.wiring.runs import load_run

    if patches < 1:
        raise ConfigError(f"--patches {patches}: at least 1 is needed, and a few hundred to judge shares by")
    trained = load_run(run, checkpoint).ready()
    study = read_study(trained.study)
    if study.taxonomy.classes != trained.taxonomy.classes:
        raise RunError(
            f"{run} knows {', '.join(trained.taxonomy.classes)}, but its study {study.folder} now has "
            f"{', '.join(study.taxonomy.classes)}; import the study again as it was"
        )
    records = study.split(split)
    drawn = draw_evenly(records, len(trained.taxonomy), patches)
    with progress_bar("Looking at patches", len(drawn)) as advance:
        behaviour = measure(trained.method, drawn, trained.settings.patch_px, advance)
    explanation = _explain(trained, drawn, behaviour, split, len(records))
    folder = out or trained.folder.path / "explain"
    record = _record(trained, explanation, checkpoint)
    _write(folder, explanation, record)
    if json:
        sys.stdout.write(json_text.dumps({"folder": str(folder), **record}, indent=2) + "\n")
    else:
        _show(folder, explanation)


def _explain(
    trained: "Run", drawn: "list[PatchRecord]", behaviour: "Behaviour", split: str, patches_all: int
) -> "Explanation":
    from histoproto.inference.prototypes import vector_similarity
    from histoproto.presets.settings import RunSettings
    from histoproto.prototypes.health import ALIKE, DEAD_SHARE, find_dead, find_duplicates
    from histoproto.reports.explain import Explanation
    from histoproto.reports.explain_wording import Remedy, name_prototypes, warn

    prototypes = name_prototypes(trained.taxonomy.classes, trained.method.counts)
    findings = [*find_dead(behaviour.shares), *find_duplicates(behaviour.correlation)]
    weight = getattr(trained.settings.model, "diversity_weight", None)
    from_bank = isinstance(trained.settings, RunSettings) and trained.settings.prototypes.bank is not None
    examples, heats = _examples(trained, drawn, behaviour, prototypes)
    return Explanation(
        run=str(trained.folder.path),
        method=trained.settings.method,
        split=split,
        patches=len(drawn),
        patches_all=patches_all,
        patch_um=_width_um(drawn),
        taxonomy=trained.taxonomy,
        labelled=behaviour.labelled,
        rows=[_row(prototype, drawn, behaviour, trained, heats[prototype.row]) for prototype in prototypes],
        examples=examples,
        cautions=warn(findings, prototypes, Remedy(from_bank, weight)),
        cosine=vector_similarity(trained.method).tolist(),
        correlation=behaviour.correlation.tolist(),
        dead_share=DEAD_SHARE,
        alike=ALIKE,
    )


def _width_um(drawn: "list[PatchRecord]") -> float | None:
    widths = {r.mpp * r.width_px if r.mpp is not None and r.width_px is not None else None for r in drawn}
    return widths.pop() if len(widths) == 1 else None


def _examples(
    trained: "Run", drawn: "list[PatchRecord]", behaviour: "Behaviour", prototypes: "list[Prototype]"
) -> "tuple[dict[str, list[Image.Image]], list[list[Image.Image]]]":
    """Return patches of each class, and each prototype's activation on those of its class."""
    from histoproto.inference.nearest import examples_of_class
    from histoproto.inference.prototypes import activation_maps
    from histoproto.reports.explain_pictures import heat, photograph

    highest = behaviour.peaks.amax(0).tolist()
    lowest = behaviour.lowest.tolist()
    shown: dict[str, list[Image.Image]] = {}
    heats: list[list[Image.Image]] = []
    for index, name in enumerate(trained.taxonomy.classes):
        chosen = [drawn[place] for place in examples_of_class(drawn, index, EXAMPLES)]
        maps = activation_maps(trained.method, chosen, trained.settings.patch_px)
        shown[name] = [photograph(record.path) for record in chosen]
        own = [prototype.row for prototype in prototypes if prototype.class_name == name]
        low, high = min(lowest[row] for row in own), max(highest[row] for row in own)
        heats += [
            [heat(below, one[row].numpy(), low, high) for below, one in zip(shown[name], maps, strict=True)]
            for row in own
        ]
    return shown, heats


def _row(
    prototype: "Prototype",
    drawn: "list[PatchRecord]",
    behaviour: "Behaviour",
    trained: "Run",
    heats: "list[Image.Image]",
) -> "Row":
    from histoproto.inference.nearest import nearest_patches
    from histoproto.reports.explain import Nearest, Row
    from histoproto.reports.explain_pictures import marked, photograph

    index = trained.taxonomy.index(prototype.class_name)
    nearest = []
    for place in nearest_patches(behaviour.peaks[:, prototype.row], [record.group for record in drawn], NEAREST):
        record, spot = drawn[place], behaviour.spots[place, prototype.row].tolist()
        nearest.append(
            Nearest(
                picture=marked(photograph(record.path), spot),
                activation=float(behaviour.peaks[place, prototype.row]),
                group=record.group,
                labelled=bool((record.labels or ())[index]),
                path=record.path,
                spot=tuple(spot),
            )
        )
    return Row(
        prototype=prototype,
        share=behaviour.shares[prototype.row],
        highest=float(behaviour.peaks[:, prototype.row].max()),
        lowest=float(behaviour.lowest[prototype.row]),
        nearest=nearest,
        heats=heats,
    )


def _record(trained: "Run", explanation: "Explanation", checkpoint: str) -> dict[str, Any]:
    """Return everything but the pictures, for JSON."""
    return {
        "schema": SCHEMA,
        "command": ["histoproto", *sys.argv[1:]],
        "run": explanation.run,
        "checkpoint": checkpoint,
        "method": explanation.method,
        "study": str(trained.study),
        "split": explanation.split,
        "patches": explanation.patches,
        "patches_all": explanation.patches_all,
        "labelled": dict(zip(trained.taxonomy.classes, explanation.labelled, strict=True)),
        "dead_share": explanation.dead_share,
        "duplicate_correlation": explanation.alike,
        "warnings": [
            {
                "kind": caution.finding.kind,
                "prototypes": [explanation.rows[row].prototype.name for row in caution.finding.prototypes],
                "value": caution.finding.value,
                "sentence": caution.sentence,
                "advice": caution.advice,
            }
            for caution in explanation.cautions
        ],
        "prototypes": [
            {
                "name": row.prototype.name,
                "class": row.prototype.class_name,
                "number": row.prototype.number,
                "row": row.prototype.row,
                "activation_share": row.share,
                "highest": row.highest,
                "lowest": row.lowest,
                "sheet": f"sheets/{_file_name(row)}",
                "nearest": [
                    {
                        "patch": str(near.path),
                        "group": near.group,
                        "labelled": near.labelled,
                        "activation": near.activation,
                        "spot": list(near.spot),
                    }
                    for near in row.nearest
                ],
            }
            for row in explanation.rows
        ],
        "cosine": explanation.cosine,
        "correlation": explanation.correlation,
    }


def _file_name(row: "Row") -> str:
    """Return the name of a prototype's sheet; the number of its row keeps names apart whatever classes are called."""
    readable = re.sub(r"[^\w.-]+", "-", row.prototype.name)
    return f"{row.prototype.row:02d}-{readable}.png"


def _write(folder: Path, explanation: "Explanation", record: dict[str, Any]) -> None:
    """Write everything; ``prototypes.json`` goes first and comes last, so that it stands for a whole folder."""
    from histoproto.atomic import replacing, write_json, write_text
    from histoproto.progress import progress_bar
    from histoproto.reports.explain import render
    from histoproto.reports.explain_pictures import DOTS_PER_INCH, matrices, sheet

    _clear(folder)
    colours = dict(zip(explanation.taxonomy.classes, explanation.taxonomy.colours, strict=True))
    with progress_bar("Drawing sheets", len(explanation.rows)) as advance:
        for row in explanation.rows:
            name = row.prototype.class_name
            share = "n/a" if row.share is None else f"{row.share:.1%}"
            rows = [
                ("Nearest patches, the strongest spot framed", [near.picture for near in row.nearest]),
                (f"Patches labelled {name}", explanation.examples[name]),
                ("Where it fires on them", row.heats),
            ]
            picture = sheet(f"{row.prototype.name}: activation share {share}", colours[name], rows)
            with replacing(folder / "sheets" / _file_name(row)) as temporary:
                picture.save(temporary, compress_level=4)
            advance(1)
    panels = [("cosine of the vectors", explanation.cosine), ("correlation of the maps", explanation.correlation)]
    names = [row.prototype.name for row in explanation.rows]
    counts = [sum(row.prototype.class_name == name for row in explanation.rows) for name in colours]
    with replacing(folder / "similarity.png") as temporary:
        matrices(panels, names, counts).savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    _write_csv(folder / "prototypes.csv", record)
    write_text(folder / "prototypes.html", render(explanation))
    write_json(folder / "prototypes.json", record)


def _clear(folder: Path) -> None:
    """Remove the record of an earlier call and the sheets that it names."""
    done = folder / "prototypes.json"
    if done.is_file():
        with suppress(ValueError, KeyError, TypeError):  # not ours, or broken: its sheets stay
            for entry in json_text.loads(done.read_text(encoding="utf-8"))["prototypes"]:
                (folder / "sheets" / Path(entry["sheet"]).name).unlink(missing_ok=True)
        done.unlink()


def _write_csv(path: Path, record: dict[str, Any]) -> None:
    from histoproto.atomic import replacing

    columns = ("name", "class", "number", "row", "activation_share", "highest", "lowest")
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([*columns, "dead", "duplicate_of", "nearest_patch"])
        for entry in record["prototypes"]:
            kinds = {w["kind"]: w["prototypes"] for w in record["warnings"] if entry["name"] in w["prototypes"]}
            others = [name for name in kinds.get("duplicate", []) if name != entry["name"]]
            plain = ["" if entry[column] is None else entry[column] for column in columns]
            writer.writerow([*plain, int("dead" in kinds), " | ".join(others), entry["nearest"][0]["patch"]])


def _show(folder: Path, explanation: "Explanation") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from histoproto.reports.explain_wording import by_advice

    marks: dict[int, list[str]] = {}
    for caution in explanation.cautions:
        for row in caution.finding.prototypes:
            marks.setdefault(row, []).append(caution.finding.kind)
    title = Text(f"Prototypes on {explanation.patches} patches of split {explanation.split}")
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("prototype", "share", "highest", "lowest", "warning"):
        table.add_column(column, justify="left" if column in ("prototype", "warning") else "right", no_wrap=True)
    for entry in explanation.rows:
        share = "n/a" if entry.share is None else f"{entry.share:.1%}"
        words = ", ".join(marks.get(entry.prototype.row, []))
        figures = (share, f"{entry.highest:.3f}", f"{entry.lowest:.3f}")
        table.add_row(Text(entry.prototype.name), *figures, Text(words), style="bold" if words else "")
    console = Console()
    console.print(table)
    for advice, cautions in by_advice(explanation.cautions):
        for line in (*(caution.sentence for caution in cautions), f"{advice}\n"):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    say_next(f"open {folder / 'prototypes.html'} in a browser")
