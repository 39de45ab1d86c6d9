"""The same sweep in minutes and offline: few drawn patches, few epochs, networks that need no download.

It shows the road, not the quality, and the table's caption says what took whose place.
"""

from dataclasses import asdict
from typing import Any

from histoproto.presets.settings import BackboneSettings, EncoderSettings
from histoproto.sweeps.cells import HELPER, Cell

EPOCHS = 3
OFFLINE = ("self", "none", "bank", "random", HELPER)
"""Encoders that need no download."""
SMALL = ("small-conv", "resnet-18")
"""Backbones that train from random weights in seconds; others become the first."""
TRAINING = {"epochs": EPOCHS, "batch": 16, "lr": 1e-3, "warmup_steps": 0, "choose_by": "holdout-loss"}
PATCH_PX = 64


def tiny_cell(cell: Cell) -> Cell:
    """Return the cell made small; where its ``tiny`` section already named something offline, that stays."""
    small = _offline(cell)
    if cell.zeroshot is not None:
        return small
    return small.changed({"settings": _small_settings(small)})


def replacements(cells: list[Cell], small: list[Cell]) -> list[str]:
    """Return what took whose place, as ``small-conv for mit-b1``, each pair once.

    Args:
        cells: as the file has them.
        small: those of the same names, made small.
    """
    pairs: list[tuple[str, str]] = []
    before = {cell.slug: cell for cell in cells}
    for after in small:
        old, new = _networks(before[after.slug]), _networks(after)
        pairs += [(new[part], old[part]) for part in old if part in new and old[part] != new[part]]
    average = "its own moving average"
    words = {HELPER: "the backbone of a quickly trained CAM", "self": average, "teacher self": f"{average} as teacher"}
    return [f"{words.get(new, new)} for {old}" for new, old in dict.fromkeys(pairs)]


def _offline(cell: Cell) -> Cell:
    """Return the cell with the helper as encoder of banks and questions, and its own average as that of a bare run."""
    if not cell.encoders:
        return cell
    if not cell.encoders - set(OFFLINE):
        return cell.with_encoder(sorted(cell.encoders)[0])
    return cell.with_encoder("self" if cell.bank is None and cell.zeroshot is None else HELPER)


def _small_settings(cell: Cell) -> dict[str, Any]:
    """Return changes by which a run needs no download and ends within seconds."""
    settings = cell.run_settings(cell.name)
    small: dict[str, Any] = {
        "training": TRAINING,
        "model": {"warmup_steps": 0},
        "inference": {"views": "none"},
        "patch_px": PATCH_PX,
        "prototypes": {"text_encoder": None},
    }
    if settings.backbone.name not in SMALL:
        small["backbone"] = asdict(BackboneSettings())
    if settings.teacher is not None and settings.teacher.name not in ("self", "none"):
        small["teacher"] = asdict(BackboneSettings("self"))
    if settings.encoder.name not in OFFLINE:
        small["encoder"] = asdict(EncoderSettings())
    return small


def _networks(cell: Cell) -> dict[str, str]:
    """Return the networks that a cell is made of."""
    networks = {"encoder": sorted(cell.encoders)[0]} if cell.encoders else {}
    if cell.zeroshot is not None:
        return networks
    settings = cell.run_settings(cell.name)
    networks.setdefault("encoder", settings.encoder.name)
    networks["backbone"] = settings.backbone.name
    if settings.teacher is not None:
        networks["teacher"] = f"teacher {settings.teacher.name}"
    if settings.prototypes.text_encoder is not None:
        networks["text"] = f"text of {settings.prototypes.text_encoder}"
    return networks
