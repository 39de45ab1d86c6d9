"""Grad-CAM (Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks", ICCV 2017).

A linear classifier on the pooled last level is trained as in plain CAM; its maps may come from any level ``A`` (D
channels) that leads to the last one ``F``, on a finer grid than that of ``F``:

    y_c        = P_c . mean_p F(p) + b_c             pooled scores
    L          = BCE(sigmoid(y), y)                  the only term
    alpha_c,k  = sum over pixels of dy_c / dA_k      weight of channel k for class c, Eq. 1
    M_c(p)     = sum_k alpha_c,k A_k(p) + b_c        class maps, Eq. 2

Shapes: B images, C classes, D channels and (h, w) size of the chosen level.

Differences
-----------
* Eq. 1 takes the mean over pixels. The sum keeps maps in the units of the scores whatever the size of the image; on the
  last level ``alpha`` is ``P`` and the maps are those of CAM.
* Eq. 2 cuts negative evidence off (ReLU), for display. Here classes compete for each pixel, and where all of them
  were cut to 0 none would win. The bias tells classes apart that are not equally frequent.
* ``alpha`` looks at the whole input, so a large image that is cut into tiles has one ``alpha`` per tile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from histoproto.contracts import ClassMaps, FeaturePyramid, Method, MethodSettings, StepOutput
from histoproto.errors import ConfigError
from histoproto.prototypes.grouping import counts_per_class


@dataclass(frozen=True)
class GradCAMSettings(MethodSettings):
    """Settings of the method."""

    level: int = -2
    """Number of the level ``A``, finest first, or counted from the end; -1 gives plain CAM."""


class GradCAM(Method):
    """A pooled linear classifier, explained on one level of its backbone.

    Args:
        backbone: trained feature extractor.
        classes: number of tissue classes C.
        settings: all numbers; a class has one weight vector.

    Raises:
        ConfigError: if there is no such level, or more than one prototype per class is asked for.
    """

    unit_maps = False

    def __init__(self, backbone: FeaturePyramid, classes: int, settings: GradCAMSettings) -> None:
        super().__init__()
        self.counts = counts_per_class(settings.prototypes_per_class, classes)
        if max(self.counts) > 1:
            raise ConfigError("gradcam has one weight vector per class; set model.prototypes_per_class to 1")
        levels = len(backbone.channels)
        if not -levels <= settings.level < levels:
            raise ConfigError(f"model.level is {settings.level}, but the backbone has {levels} levels, counted from 0")
        self.level = settings.level
        self.backbone = backbone
        self.prototypes = nn.Parameter(nn.init.trunc_normal_(torch.empty(classes, backbone.channels[-1]), std=0.02))
        self.biases = nn.Parameter(torch.zeros(classes))

    def _score_maps(self, features: Sequence[Tensor]) -> Float[Tensor, "batch classes height width"]:
        logits = torch.einsum("bdhw,cd->bchw", features[-1], self.prototypes)
        return logits.float() + self.biases[:, None, None]

    def training_step(
        self, images: Float[Tensor, "batch 3 height width"], labels: Float[Tensor, "batch classes"], step: int
    ) -> StepOutput:
        """Return the binary cross-entropy of the pooled scores; see the base class.

        Raises:
            ConfigError: in the first step, if the chosen level does not lead to the last one.
        """
        features = self.backbone(images)
        scores = self._score_maps(features).mean((-2, -1))  # (B, C)
        if step == 0 and features[self.level].requires_grad:
            self._weights(features, scores)  # refused now rather than after an epoch
        classification = binary_cross_entropy_with_logits(scores, labels)
        return StepOutput(classification, {"classification": classification.detach()})

    def class_maps(self, images: Float[Tensor, "batch 3 height width"]) -> ClassMaps:
        """Return Grad-CAM of the chosen level, also where the caller has switched gradients off; see the base class.

        Raises:
            ConfigError: if the chosen level does not lead to the last one.
        """
        differentiable = torch.is_grad_enabled()
        with torch.inference_mode(mode=False), torch.enable_grad():
            # of a copy that carries gradient: the backbone may be frozen, and inference mode's tensors cannot
            features = self.backbone(images.clone().requires_grad_())
            score_maps = self._score_maps(features)
            weights = self._weights(features, score_maps.mean((-2, -1)), differentiable=differentiable)
            maps = torch.einsum("bdhw,bcd->bchw", features[self.level].float(), weights) + self.biases[:, None, None]
        return ClassMaps(maps, score_maps) if differentiable else ClassMaps(maps.detach(), score_maps.detach())

    def _weights(
        self, features: Sequence[Tensor], scores: Float[Tensor, "batch classes"], *, differentiable: bool = False
    ) -> Float[Tensor, "batch classes channels"]:
        """Return ``alpha`` (Eq. 1); images do not see each other, so that one pass serves the batch."""
        level = features[self.level]  # (B, D, h, w)
        weights = []
        for score in scores.unbind(1):
            (gradient,) = torch.autograd.grad(
                score.sum(), level, retain_graph=True, create_graph=differentiable, allow_unused=True
            )
            if gradient is None:
                raise ConfigError(
                    f"level {self.level} of this backbone does not lead to its last level, so that Grad-CAM has "
                    "nothing to follow; set model.level to -1"
                )
            weights.append(gradient.float().sum((-2, -1)))
        return torch.stack(weights, dim=1)

    def prototype_maps(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch prototypes _height _width"]:
        """Return ``2 sigmoid(M) - 1`` of the last level, where ``prototypes`` are; see the base class."""
        return (self._score_maps(self.backbone(images)) / 2).tanh()
