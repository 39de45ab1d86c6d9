"""How good the model is after an epoch, and whether that is the best so far."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch.utils.data import Dataset

from histoproto.contracts import TissueModel
from histoproto.errors import ConfigError, TrainingError
from histoproto.training.batches import Collate, as_images, length, read_batches
from histoproto.training.processes import gather
from histoproto.training.settings import TrainSettings


@dataclass(frozen=True)
class Judge:
    """Judges a model by held-out labels and, if asked to, by validation masks.

    Raises:
        ConfigError: if the best epoch is to be chosen by what was not given.
    """

    fabric: Fabric
    model: TissueModel
    settings: TrainSettings
    holdout_data: Dataset[Any] | None
    collate: Collate
    evaluate_masks: Callable[[TissueModel], float] | None

    def __post_init__(self) -> None:
        """Check that the figure that chooses can be had."""
        if self.holdout_data is not None and length(self.holdout_data) == 0:
            raise ConfigError("the holdout split is empty; add labelled patches to it, or train without it")
        if self.settings.choose_by == "holdout-loss" and self.holdout_data is None:
            raise ConfigError(
                "the best epoch is chosen by the holdout loss, but there are no labelled patches outside the "
                "training split; add some, or set choose_by to 'last'"
            )
        if self.settings.choose_by == "validation-masks" and self.evaluate_masks is None:
            raise ConfigError(
                "the best epoch is chosen by validation masks, but there are none; add some, or set choose_by to "
                "'holdout-loss'"
            )

    def figures(self) -> dict[str, float]:
        """Return ``holdout_loss`` and ``validation_masks``, as far as they can be had and are wanted.

        The model is in evaluation mode meanwhile, and then in the mode it was in.

        Raises:
            TrainingError: if one of them is no finite number.
        """
        figures: dict[str, float] = {}
        trained = self.model.training
        self.model.eval()
        with torch.no_grad():
            if self.holdout_data is not None:
                figures["holdout_loss"] = self._holdout_loss(self.holdout_data)
            if self.settings.choose_by == "validation-masks" and self.evaluate_masks is not None:
                mine = self.evaluate_masks(self.model) if self.fabric.is_global_zero else 0.0
                figures["validation_masks"] = gather(self.fabric, mine)[0]
        self.model.train(trained)
        for name, value in figures.items():
            if not math.isfinite(value):
                raise TrainingError(f"{name} is {value} after the epoch; train again with a lower learning rate")
        return figures

    def chosen(self, figures: dict[str, float]) -> float | None:
        """Return the figure that chooses the best epoch; None if the last one counts."""
        column = {"holdout-loss": "holdout_loss", "validation-masks": "validation_masks", "last": None}
        name = column[self.settings.choose_by]
        return None if name is None else figures[name]

    def is_better(self, figure: float | None, best: float | None) -> bool:
        """Whether an epoch with this figure takes the place of the best one so far."""
        if figure is None or best is None:
            return True
        return figure > best if self.settings.choose_by == "validation-masks" else figure < best

    def _holdout_loss(self, data: Dataset[Any]) -> float:
        """Return the mean over patches and classes of -y ln σ(s) - (1 - y) ln(1 - σ(s)), s the class scores."""
        patches = length(data)
        size = max(1, self.settings.batch // self.fabric.world_size)
        mine = range(self.fabric.global_rank, patches, self.fabric.world_size)
        batches = [list(mine[first : first + size]) for first in range(0, len(mine), size)]
        total, count = 0.0, 0
        for batch in read_batches(data, self.collate, batches, self.settings.workers):
            with self.fabric.autocast():
                scores = self.model.class_maps(as_images(self.fabric.to_device(batch.images))).scores.float()
            labels = self.fabric.to_device(batch.labels)
            losses = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="none")
            total, count = total + losses.sum().item(), count + losses.numel()
        shares = gather(self.fabric, (total, count))
        return sum(share[0] for share in shares) / sum(share[1] for share in shares)
