"""A run as one ONNX file, computed again by ONNX Runtime and compared before it appears."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from histoproto import __version__
from histoproto.atomic import replacing, write_text
from histoproto.contracts import TissueModel
from histoproto.errors import ConfigError
from histoproto.exporting.exported import Exported
from histoproto.exporting.graph import INPUT, LARGEST_PX, OUTPUTS, EvidenceGraph
from histoproto.exporting.model_card import model_card
from histoproto.inference.evidence import evidence_of
from histoproto.progress import Advance

NEEDED = ("onnx", "onnxscript", "onnxruntime")
STEPS = 3
"""What ``on_step`` counts: tracing, writing, comparing."""
TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and histoproto, in the units of class maps and scores."""
OTHER_WAY = "export it with --to hub-folder, which takes every model"
_TRACING = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    KeyError,
    IndexError,
    AssertionError,
    NotImplementedError,
)
"""What torch raises where a network cannot be traced."""


def write_onnx(model: Exported, file: Path, on_step: Advance) -> float:
    """Write NAME.onnx and NAME.md beside it; both appear whole or not at all.

    Args:
        model: to be exported; on the CPU.
        file: where to, ending in ``.onnx``; an older file is replaced.
        on_step: called with 1 after each of ``STEPS``.

    Returns:
        The largest difference that was found between ONNX Runtime and histoproto.

    Raises:
        ConfigError: if packages are missing, or the model cannot be expressed in ONNX to within ``TOLERANCE``.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"export to ONNX needs {', '.join(missing)}; install with: pip install 'histoproto[export]'")
    network, method = model.run.model, model.run.settings.method
    if _follows_gradients(network):
        raise ConfigError(
            f"{method} computes gradients whenever it looks at an image, which ONNX has no words for; {OTHER_WAY}"
        )
    graph = EvidenceGraph(network, model.run.settings.inference.views, model.gate.window_px).eval()
    program = _traced(graph, f"{method} on {model.run.settings.backbone.name}")
    on_step(1)
    with replacing(file) as temporary:
        program.model.metadata_props.update(_metadata(model))
        program.save(str(temporary), external_data=False)
        on_step(1)
        difference = _largest_difference(model, temporary)
        if not difference <= TOLERANCE:
            raise ConfigError(
                f"{method} on {model.run.settings.backbone.name} differs by {difference:.2g} in ONNX Runtime, more "
                f"than {TOLERANCE:g}, so it was not exported; {OTHER_WAY}"
            )
        write_text(file.with_suffix(".md"), model_card(model, "onnx", file.name, None))
        on_step(1)
    return difference


def _follows_gradients(network: TissueModel) -> bool:
    """Return whether a model keeps what gradients need although they are switched off."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.class_maps(torch.zeros(1, 3, 64, 64))
    return bool(kept)


def _traced(graph: EvidenceGraph, what: str) -> Any:
    """Return the graph as an ONNX program for any batch, height and width.

    Raises:
        ConfigError: if torch cannot trace it.
    """
    axes = {
        0: torch.export.Dim("batch", min=1, max=LARGEST_PX),
        2: torch.export.Dim("height", min=2, max=LARGEST_PX),
        3: torch.export.Dim("width", min=2, max=LARGEST_PX),
    }
    example = torch.zeros(2, 3, 75, 106)  # sides of no pattern, so that none is taken for a rule
    try:
        with torch.no_grad(), _in_silence():
            traced = torch.export.export(
                graph, (example,), dynamic_shapes=(axes,), prefer_deferred_runtime_asserts_over_guards=True
            )
            return torch.onnx.export(
                traced, dynamo=True, verbose=False, input_names=[INPUT], output_names=list(OUTPUTS)
            )
    except _TRACING as error:
        raise ConfigError(
            f"{what} cannot be traced for images of any size (torch: {type(error).__name__}); {OTHER_WAY}"
        ) from None


@contextmanager
def _in_silence() -> Iterator[None]:
    """Keep torch from printing, logging and warning pages about its own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _metadata(model: Exported) -> dict[str, str]:
    """Return what a program needs to know that has nothing but the file; all values are JSON."""
    taxonomy = model.run.taxonomy
    content = {
        "name": model.name,
        "classes": list(taxonomy.classes),
        "titles": list(taxonomy.titles),
        "colours": [list(colour) for colour in taxonomy.colours],
        "mpp": model.record["mpp"],
        "gate": model.gate.to_dict(),
        "views": model.run.settings.inference.views,
        "method": model.run.settings.method,
        "histoproto_version": __version__,
        "data_hash": model.record["data_hash"],
        "checkpoint_sha256": model.checkpoint_sha256,
        "licence": model.terms.name or model.terms.licence,
    }
    return {key: json.dumps(value) for key, value in content.items()}


def _largest_difference(model: Exported, file: Path) -> float:
    """Return how far ONNX Runtime is from ``evidence_of`` on images of noise of several sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    differences = []
    for batch in _noise(model.gate.window_px):
        images = batch.transpose(0, 3, 1, 2).astype(np.float32) / 255
        found = dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: images}), strict=True))
        for rgb, maps, local in zip(batch, found["class_maps"], found["local_scores"], strict=True):
            # in one piece: what a larger image is cut into is no part of the graph
            whole = replace(model.run.settings.inference, context="whole", tile_px=max(rgb.shape))
            evidence = evidence_of(model.run.model, rgb, model.gate.window_px, whole)
            differences += [np.abs(maps - evidence.maps.numpy()).max(), np.abs(local - evidence.scores.numpy()).max()]
    return float(np.max(differences))


def _noise(window_px: int) -> list[UInt8[np.ndarray, "_batch _height _width 3"]]:
    """Return batches of images: as in training, larger, smaller and oblong, of odd sizes."""
    draw = np.random.default_rng(0)
    sizes = [(1, window_px, window_px), (2, window_px + 37, window_px + 5), (3, max(window_px // 2 - 3, 2), window_px)]
    return [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
