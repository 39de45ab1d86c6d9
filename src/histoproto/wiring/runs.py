"""A trained run, loaded from its folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file
from torch import Tensor

from histoproto.contracts import Method, MethodSettings, Parts, Prototypes, TissueModel
from histoproto.device import fastest_device
from histoproto.errors import ConfigError, RunError
from histoproto.inference.compiled import compile_maps
from histoproto.inference.refine import check_refiner
from histoproto.inference.settings import Refine
from histoproto.presets.changes import read_any_settings
from histoproto.presets.segment import SegmentSettings
from histoproto.presets.settings import BackboneSettings, EncoderSettings, RunSettings
from histoproto.prototypes.grouping import counts_per_class
from histoproto.runs import RunFolder
from histoproto.taxonomy import Taxonomy
from histoproto.training.settings import Precision
from histoproto.wiring.parts import assemble, assemble_segmenter, pyramid

TRAINING_ONLY = ("encoder.", "teacher.", "memory.")
"""Parts of a method that a trained run is loaded without."""


class Run(NamedTuple):
    """A trained run, ready to look at images."""

    folder: RunFolder
    settings: RunSettings | SegmentSettings
    taxonomy: Taxonomy
    study: Path
    model: TissueModel

    @property
    def method(self) -> Method:
        """The model of a run of the first stage.

        Raises:
            RunError: if it is a segmenter, which has no prototypes.
        """
        if not isinstance(self.model, Method):
            raise RunError(
                f"{self.folder.path} is a segmenter, which has no prototypes; take the run that made its pseudo masks"
            )
        return self.model

    def ready(self, precision: Precision | None = None, *, compiled: bool = False) -> "Run":
        """Return the run ready to look at many images: its model, the same one, is on the GPU where there is one.

        Args:
            precision: arithmetic of the network; None leaves it as the run is set.
            compiled: whether class maps are computed by compiled code.
        """
        self.model.to(fastest_device())
        if compiled:
            compile_maps(self.model)
        if precision is None:
            return self
        inference = replace(self.settings.inference, precision=precision)
        return self._replace(settings=replace(self.settings, inference=inference))

    def refined(self, refine: Refine | None, weights: str | None = None) -> "Run":
        """Return the run with another refiner of its masks.

        Args:
            refine: which; None leaves it as the run is set.
            weights: of the network that ``sam`` asks; None leaves them as the run is set.

        Raises:
            ConfigError: if the refiner needs what is not there, or weights are given that it has no use for.
        """
        inference = self.settings.inference
        inference = replace(inference, refine=refine or inference.refine)
        if weights is not None:
            if inference.refine != "sam":
                raise ConfigError(f"--refine-weights is for --refine sam, not for {inference.refine}; leave it out")
            inference = replace(inference, sam=replace(inference.sam, weights=weights))
        check_refiner(self.model, inference)
        return self._replace(settings=replace(self.settings, inference=inference))


def load_run(path: Path, checkpoint: str = "best") -> Run:
    """Rebuild a trained method from its run folder, without what served its training alone.

    Args:
        path: the run folder.
        checkpoint: ``best`` or ``last``.

    Raises:
        RunError: if the folder is no run, or the checkpoint is absent or of another taxonomy.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    settings = read_any_settings(config, folder.config_file)
    taxonomy = Taxonomy.from_dict(config["taxonomy"])
    file = folder.checkpoint(checkpoint) / "model.safetensors"
    if not file.is_file():
        raise RunError(f"{path} has no {checkpoint} checkpoint; finish its training with: {folder.resume_command()}")
    tensors = {name: tensor for name, tensor in load_file(file).items() if not name.startswith(TRAINING_ONLY)}
    model = rebuild(replace(settings, backbone=_as_in_checkpoint(settings.backbone)), taxonomy, tensors, file)
    return Run(folder, settings, taxonomy, Path(config["study"]), model)


def rebuild(
    settings: RunSettings | SegmentSettings, taxonomy: Taxonomy, tensors: Mapping[str, Tensor], file: Path
) -> TissueModel:
    """Return a trained model made of its tensors, in evaluation mode.

    Args:
        settings: of the run; pretrained weights are loaded where ``backbone`` names any.
        taxonomy: its classes.
        tensors: all that the model holds, apart from a pretrained frozen backbone.
        file: where the tensors are from, for errors.

    Raises:
        RunError: if the tensors are those of another model.
        WeightsError: if pretrained weights are missing.
    """
    model = (
        assemble_segmenter(settings, taxonomy)
        if isinstance(settings, SegmentSettings)
        else _untrained(settings, taxonomy, tensors)
    )
    _fill(model, tensors, file, taxonomy)
    return model.eval()


def _untrained(settings: RunSettings, taxonomy: Taxonomy, tensors: Mapping[str, Tensor]) -> Method:
    backbone, _ = pyramid(settings.backbone)
    parts = Parts(backbone, len(taxonomy), prototypes=_trained_prototypes(settings.model, tensors, len(taxonomy)))
    return assemble(replace(settings, encoder=EncoderSettings("none"), teacher=None), parts)


def _as_in_checkpoint(backbone: BackboneSettings) -> BackboneSettings:
    """Return the backbone without its pretrained weights, unless it is frozen: then no checkpoint holds them."""
    return backbone if backbone.frozen else replace(backbone, weights=None)


def _trained_prototypes(model: MethodSettings, tensors: Mapping[str, Tensor], classes: int) -> Prototypes | None:
    """Return the checkpoint's prototypes, so that the method takes their number and length from them."""
    if "prototypes" not in tensors:
        return None
    return Prototypes(tensors["prototypes"], counts_per_class(model.prototypes_per_class, classes))


def _fill(model: TissueModel, tensors: Mapping[str, Tensor], file: Path, taxonomy: Taxonomy) -> None:
    own = model.state_dict()
    odd = sorted(name for name in own.keys() | tensors.keys() if _shape(own.get(name)) != _shape(tensors.get(name)))
    if odd:
        raise RunError(
            f"{file} does not fit {taxonomy.name} with {len(taxonomy)} classes: {odd[0]} and {len(odd) - 1} other "
            "tensors differ; was the checkpoint copied from another run?"
        )
    model.load_state_dict(tensors)


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
