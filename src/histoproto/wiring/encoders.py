"""Frozen encoders that stand on their own."""

from pathlib import Path

import torch

from histoproto.backbones.registry import build_backbone, is_backbone
from histoproto.banks.folder import file_hash
from histoproto.contracts import FeaturePyramid, ImageEncoder, LoadedWeights
from histoproto.encoders.backbone_mean import BackboneEncoder
from histoproto.encoders.registry import PRETRAINED, build_encoder
from histoproto.errors import ConfigError
from histoproto.presets.settings import BackboneSettings
from histoproto.wiring.parts import pyramid
from histoproto.wiring.runs import Run, load_run

FROM_RUN = "run:"
"""Prefix of an encoder that is the backbone of an earlier run, as in ``run:runs/lpd``."""
DRAWN_SEED = 0
"""Random weights of an encoder depend on nothing else, so that a bank's encoder can be drawn again."""


def load_encoder(name: str, weights: str | None) -> tuple[ImageEncoder, LoadedWeights]:
    """Return a frozen encoder that stands on its own.

    Args:
        name: a name of ``encoders/registry.py``, ``run:PATH`` for the backbone of an earlier run, or the name of a
            backbone, whose last level is then averaged over positions.
        weights: as for ``build_encoder``; a run brings its own, a backbone needs them.

    Raises:
        ConfigError: if the name is not known, or is ``self`` or ``none``.
        RunError: if there is no trained run where ``run:`` says.
        WeightsError: if weights are missing or do not fit.
    """
    if name.startswith(FROM_RUN):
        if weights is not None:
            raise ConfigError(f"{name} brings its own weights; leave --encoder-weights out")
        run = load_run(Path(name.removeprefix(FROM_RUN)))
        file = run.folder.checkpoint("best") / "model.safetensors"
        backbone = backbone_of(run)
        return BackboneEncoder(backbone), LoadedWeights(name, file_hash(file), len(backbone.state_dict()))
    if is_backbone(name) and name not in PRETRAINED:
        if weights is None:
            raise ConfigError(f"{name} as encoder needs weights; name a file, a folder or hf:org/name")
        backbone, loaded = build_backbone(name, weights)
        return BackboneEncoder(backbone.eval()), loaded
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(DRAWN_SEED)
        unused, _ = pyramid(BackboneSettings())  # only ``self`` looks at it
        encoder, loaded = build_encoder(name, weights, unused)
    if encoder is None or name == "self":
        raise ConfigError(
            f"encoder {name} does not stand on its own; train a first run, for example histoproto train lpd STUDY "
            "--run runs/lpd, and take its backbone with --encoder run:runs/lpd"
        )
    return encoder, loaded


def backbone_of(run: Run) -> FeaturePyramid:
    """Return the backbone of a run.

    Raises:
        ConfigError: if its method has none.
    """
    backbone = getattr(run.model, "backbone", None)
    if not isinstance(backbone, FeaturePyramid):
        raise ConfigError(f"the method of {run.folder.path} has no backbone to encode with; take an lpd run")
    return backbone
