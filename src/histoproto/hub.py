"""A trained model as a folder or repository in the hub's format, without its run.

::

    model.safetensors   every tensor of the model
    config.json         settings, classes, gate, resolution, where it comes from
    README.md           model card

``histoproto export RUN --to hub-folder`` writes it; `TissueMapper.from_pretrained` reads it.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from histoproto.contracts import TissueModel
from histoproto.errors import DataError, WeightsError
from histoproto.inference.decision import background_of, decide, predicted_classes
from histoproto.inference.evidence import Evidence, evidence_of
from histoproto.inference.gate import Gate
from histoproto.inference.refine import refiner_of
from histoproto.inference.settings import InferenceSettings
from histoproto.presets.changes import read_any_settings
from histoproto.taxonomy import Taxonomy
from histoproto.weights import explain_failure, read_weights
from histoproto.wiring.runs import rebuild

SCHEMA = "histoproto/model/1"
CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
_ADDRESS = re.compile(r"(?:hf:)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


class Segmentation(NamedTuple):
    """Tissue of an image, pixel by pixel."""

    mask: UInt8[np.ndarray, "height width"]
    """Class numbers in the order of the taxonomy, ``classes`` where white background, 255 where undecided."""
    confidence: Float32[np.ndarray, "height width"]
    """Soft-max share of the strongest allowed class, 0..1."""


class TissueMapper:
    """A trained model with everything that its masks depend on.

    Args:
        model: in evaluation mode, on the device that shall compute.
        taxonomy: its classes.
        gate: which classes it lets into a mask.
        inference: how masks are made.
        mpp: microns per pixel of its training patches; None where nobody knows.
    """

    def __init__(
        self, model: TissueModel, taxonomy: Taxonomy, gate: Gate, inference: InferenceSettings, mpp: float | None
    ) -> None:
        self.model = model
        self.taxonomy = taxonomy
        self.gate = gate
        self.inference = inference
        self.mpp = mpp

    @classmethod
    def from_pretrained(cls, source: str | Path, frozen_weights: str | None = None) -> "TissueMapper":
        """Return the model of a folder or of the hub.

        Args:
            source: a folder, ``organisation/name`` or ``organisation/name@revision``.
            frozen_weights: where the weights are that the export had to leave out (see its model card); None takes
                them from where the training had them.

        Raises:
            WeightsError: if it is not there, incomplete, of another format, or the weights it needs are not at hand.
        """
        folder = _folder(source)
        config = _read_config(folder / CONFIG_FILE)
        tensors, _ = read_weights(str(folder / MODEL_FILE))
        settings = read_any_settings(config["settings"], folder / CONFIG_FILE)
        weights = None if config["frozen_weights"] is None else _left_out(config["frozen_weights"], frozen_weights)
        taxonomy = Taxonomy.from_dict(config["taxonomy"])
        complete = replace(settings, backbone=replace(settings.backbone, weights=weights))
        model = rebuild(complete, taxonomy, tensors, folder / MODEL_FILE)
        return cls(model, taxonomy, Gate.from_record(config, str(folder)), settings.inference, config["mpp"])

    def to(self, device: str) -> "TissueMapper":
        """Move the model, for example to ``cuda``, and return this object."""
        self.model.to(device)
        return self

    def evidence(self, rgb: NDArray[np.uint8]) -> Evidence:
        """Return class maps and pooled scores of an image, before any decision.

        Args:
            rgb: ``(height, width, 3)``, 0..255, at ``mpp`` microns per pixel; large images go by tiles.

        Raises:
            DataError: if it is no such array.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
            raise DataError(
                f"an image of shape {rgb.shape} and type {rgb.dtype}; give RGB as (height, width, 3) of type uint8"
            )
        return evidence_of(self.model, rgb, self.gate.window_px, self.inference)

    def segment(self, rgb: NDArray[np.uint8]) -> Segmentation:
        """Return the mask that ``histoproto predict`` would write, and how sure it is.

        Args:
            rgb: as for ``evidence``.
        """
        evidence = self.evidence(rgb)
        background = background_of(rgb, evidence.maps, self.inference.background)
        refiner = refiner_of(self.model, rgb, self.inference)
        decision = decide(evidence.maps, predicted_classes(evidence, self.gate), background, refiner)
        return Segmentation(decision.mask.numpy(), decision.confidence.numpy())


def _folder(source: str | Path) -> Path:
    """Return the folder itself, or the hub's in the cache."""
    local = Path(source).expanduser()
    if local.is_dir():
        return local
    address = _ADDRESS.fullmatch(str(source))
    if address is None:
        raise WeightsError(f"{source}: no such folder; name one that histoproto export wrote, or organisation/name")
    repository, revision = address[1], address[2] or ""
    try:
        wanted = [CONFIG_FILE, MODEL_FILE]
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise WeightsError(f"{source} {explain_failure(error, repository, revision)}") from None


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{file} is missing or damaged ({type(error).__name__}); copy the folder again, or make it again with: "
            "histoproto export RUN --to hub-folder"
        ) from None
    schema = config.get("schema") if isinstance(config, dict) else None
    if schema != SCHEMA:
        raise WeightsError(
            f"{file} is not of the form {SCHEMA} but {schema}; take a folder that histoproto export wrote, with a "
            "version of histoproto as new as the one that wrote it"
        )
    return dict(config)


def _left_out(record: dict[str, Any], given: str | None) -> str:
    """Return where the frozen weights are that could not be passed on, after a look whether they are the same."""
    place = given or str(record["source"])
    try:
        _, found = read_weights(place)
    except WeightsError as error:
        raise WeightsError(
            f"this model stands on frozen weights that could not be passed on with it, {record['source']} "
            f"({record['licence']}): {error}; or name your copy with frozen_weights="
        ) from None
    if found.sha256 != record["sha256"]:
        raise WeightsError(
            f"{place} is not the file that this model was trained with (sha256 {found.sha256}, not "
            f"{record['sha256']}); get that one and name it with frozen_weights="
        )
    return place
