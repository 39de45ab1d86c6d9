"""A run as a folder in the hub's format, read again and compared before it appears."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from histoproto import __version__
from histoproto.atomic import replacing_folder, write_json, write_text
from histoproto.errors import RunError
from histoproto.exporting.exported import Exported
from histoproto.exporting.licences import forbids_sharing, shown
from histoproto.exporting.model_card import model_card
from histoproto.frozen import pretrained_tensors
from histoproto.hub import CONFIG_FILE, MODEL_FILE, SCHEMA, TissueMapper
from histoproto.progress import Advance

STEPS = 2
"""What ``on_step`` counts: writing, comparing."""
CARD_FILE = "README.md"


def frozen_weights_left_out(model: Exported) -> dict[str, Any] | None:
    """Return the record of frozen weights whose licence keeps them out of the folder; None where nothing is missing.

    Args:
        model: to be exported.
    """
    if not pretrained_tensors(model.run.model):
        return None
    source = model.run.settings.backbone.weights
    record = next(entry for entry in model.record["weights"] if entry["source"] == source)
    return record if forbids_sharing(record["licence"]) else None


def write_hub_folder(model: Exported, folder: Path, on_step: Advance) -> None:
    """Write the folder; it appears whole or not at all.

    Args:
        model: to be exported.
        folder: new or empty.
        on_step: called with 1 after each of ``STEPS``.

    Raises:
        DataError: if ``folder`` holds anything.
        RunError: if what was read back differs from the run.
    """
    left_out = frozen_weights_left_out(model)
    tensors = model.run.model.state_dict()
    if left_out is None:
        tensors |= pretrained_tensors(model.run.model)
    with replacing_folder(folder) as temporary:
        # copies: tensors that share memory have to be stored one by one
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, temporary / MODEL_FILE, {"format": "pt"})
        write_json(temporary / CONFIG_FILE, _config(model, left_out))
        shutil.copymode(temporary / CONFIG_FILE, temporary / MODEL_FILE)  # safetensors lets nobody else read
        write_text(temporary / CARD_FILE, model_card(model, "hub-folder", folder.name, left_out))
        on_step(1)
        frozen = None if left_out is None else model.run.settings.backbone.weights
        _compare(model, TissueMapper.from_pretrained(temporary, frozen))
        on_step(1)


def _config(model: Exported, left_out: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "histoproto_version": __version__,
        "taxonomy": model.run.taxonomy.to_dict(),
        "gate": model.gate.to_dict(),
        "mpp": model.record["mpp"],
        "settings": model.settings,
        "frozen_weights": left_out and {key: _shown(left_out[key]) for key in ("source", "sha256", "licence")},
        "data_hash": model.record["data_hash"],
        "checkpoint": model.checkpoint,
        "checkpoint_sha256": model.checkpoint_sha256,
        "weights": [{key: _shown(value) for key, value in record.items()} for record in model.weights],
    }


def _shown(value: Any) -> Any:
    return shown(value) if isinstance(value, str) else value


def _compare(model: Exported, again: TissueMapper) -> None:
    """Prove on an image of noise that nothing was lost.

    Raises:
        RunError: if evidence differs by a single bit.
    """
    mine = TissueMapper(model.run.model, model.run.taxonomy, model.gate, model.run.settings.inference, again.mpp)
    side = model.gate.window_px
    rgb = np.random.default_rng(0).integers(0, 256, (side, side + side // 3, 3), dtype=np.uint8)
    same = all(torch.equal(one, other) for one, other in zip(mine.evidence(rgb), again.evidence(rgb), strict=True))
    if not same or mine.gate != again.gate or mine.taxonomy != again.taxonomy:
        raise RunError(f"{model.run.folder.path}: the exported model differs from the run; please report this")
