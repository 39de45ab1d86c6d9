"""Rows of pictures: examples with their errors, the same patch under several methods, prototypes."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from histoproto.reports import pictures
from histoproto.reports.boundary import boundary_picture, boundary_score
from histoproto.reports.comparison import MOST_SHOWN, Comparison, Patch, choose_patches
from histoproto.reports.drawings import Drawing
from histoproto.reports.examples import choose_examples
from histoproto.reports.pictures import Picture
from histoproto.reports.reading import Example, PrototypeMap, RunContents
from histoproto.reports.sheets import SheetRow, sheet
from histoproto.reports.wording import number
from histoproto.taxonomy import Colour, Taxonomy

EXAMPLE_PX = 256
COMPARED_PX = 224
PROTOTYPE_PX = 160
MOST_PROTOTYPE_MAPS = 48
"""Sizes and numbers of pictures, so that the page stays below 8 MB."""


class PictureRow(NamedTuple):
    """Pictures of one patch."""

    name: str
    note: str
    """Figures of the patch."""
    pictures: dict[str, Picture]
    """By what they show."""
    notes: dict[str, str]
    """Figures of single pictures, by what they show."""


class PictureGroup(NamedTuple):
    """Rows under one heading."""

    title: str
    rows: list[PictureRow]


def example_rows(contents: RunContents) -> list[PictureGroup]:
    """Return the best, median and worst patches with all that is known about each pixel."""
    return [
        PictureGroup(group.title, [_example(contents, example) for example in group.examples])
        for group in choose_examples(contents.examples)
    ]


def compared_rows(comparison: Comparison) -> list[PictureGroup]:
    """Return patches with the mask of each method side by side."""
    shown = comparison.shown[:MOST_SHOWN]
    names = [name for name, _ in shown]
    contents = [run for _, run in shown]
    return [
        PictureGroup(group.title, [_compared(contents, names, patch) for patch in group.patches])
        for group in choose_patches([run.examples for run in contents])
    ]


def tissue_colours(taxonomy: Taxonomy) -> list[tuple[str, Colour]]:
    """Return what the colours of masks mean."""
    return [
        *zip(taxonomy.titles, taxonomy.colours, strict=True),
        ("White background", taxonomy.background_colour),
        ("Not counted", pictures.IGNORE_COLOUR),
    ]


def sheet_of(
    name: str, description: str, groups: Sequence[PictureGroup], legend: Sequence[tuple[str, Colour]]
) -> list[Drawing]:
    """Return the rows as a sheet for files, with what colours mean; none where there are no rows."""
    rows = [
        SheetRow(
            f"{group.title}: {row.name}",
            [row.notes.get(what, "") for what in row.pictures],
            list(row.pictures.values()),
        )
        for group in groups
        for row in group.rows
    ]
    if not rows:
        return []
    headings = list(groups[0].rows[0].pictures)
    return [sheet(name, description, headings, rows, legend)]


def prototype_rows(maps: Sequence[PrototypeMap]) -> list[tuple[str, list[tuple[int, list[Picture]]]]]:
    """Return the maps as (class, (prototype, pictures)), classes in the order of the file."""
    shown = maps[:MOST_PROTOTYPE_MAPS]
    order = list(dict.fromkeys(entry.class_name for entry in shown))
    ranked = sorted(shown, key=lambda entry: (order.index(entry.class_name), entry.prototype))
    return [
        (
            name,
            [
                (prototype, _activations(list(same)))
                for prototype, same in groupby(of_class, key=lambda entry: entry.prototype)
            ],
        )
        for name, of_class in groupby(ranked, key=lambda entry: entry.class_name)
    ]


def prototype_sheet(prototypes: Sequence[tuple[str, list[tuple[int, list[Picture]]]]]) -> list[Drawing]:
    """Return the maps as a sheet for files; none where there are no maps."""
    rows = [
        SheetRow(f"{name}, prototype {prototype + 1}", (), maps) for name, own in prototypes for prototype, maps in own
    ]
    if not rows:
        return []
    headings = [f"patch {place + 1}" for place in range(max(len(row.pictures) for row in rows))]
    return [
        sheet(
            "prototype_maps", "where each prototype fires, brighter is closer; each row has its scale", headings, rows
        )
    ]


def _example(contents: RunContents, example: Example) -> PictureRow:
    taxonomy = contents.taxonomy
    shown = {
        "image": pictures.photograph(example.image, EXAMPLE_PX),
        "truth": pictures.mask(example.truth, taxonomy, EXAMPLE_PX),
        "prediction": pictures.mask(example.prediction, taxonomy, EXAMPLE_PX),
        "boundary errors": boundary_picture(example.image, example.truth, example.prediction, taxonomy, EXAMPLE_PX),
    }
    if example.confidence is not None:
        shown["confidence"] = pictures.confidence(example.confidence, EXAMPLE_PX)
    edge = boundary_score(example.truth, example.prediction, taxonomy)
    notes = {"prediction": f"mIoU {number(example.miou)}", "boundary errors": f"bIoU {number(edge)}"}
    return PictureRow(example.name, f"mIoU {number(example.miou)}", shown, notes)


def _compared(runs: Sequence[RunContents], names: Sequence[str], patch: Patch) -> PictureRow:
    first, taxonomy = patch.examples[0], runs[0].taxonomy
    shown = {
        "image": pictures.photograph(first.image, COMPARED_PX),
        "truth": pictures.mask(first.truth, taxonomy, COMPARED_PX),
    }
    for name, example in zip(names, patch.examples, strict=True):
        shown[name] = pictures.mask(example.prediction, taxonomy, COMPARED_PX)
    notes = {name: f"mIoU {number(example.miou)}" for name, example in zip(names, patch.examples, strict=True)}
    return PictureRow(first.name, "", shown, notes)


def _activations(maps: list[PrototypeMap]) -> list[Picture]:
    """Return the maps of one prototype on one common scale."""
    low, high = pictures.value_range([entry.file for entry in maps])
    return [pictures.activation(entry.file, entry.image, PROTOTYPE_PX, low, high) for entry in maps]
