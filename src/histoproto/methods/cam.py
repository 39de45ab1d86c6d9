"""Class activation maps (Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016).

The plain baseline, and the smallest example of the contract. The last level of the backbone gives features ``F``
(D channels); each class has one weight vector ``P_c`` and a bias, that is a 1x1 convolution, and

    M_c(p) = P_c . F(p) + b_c              class maps, Eq. 2
    y_c    = mean over pixels of M_c       pooled scores: averaging features first gives the same
    L      = BCE(sigmoid(y), y)            the only term

Shapes: B images, C classes, D channels and (h, w) size of the last level.

Differences
-----------
The paper classifies one object per image by soft-max and sets the bias to 0; patches of tissue show several classes,
hence sigmoids, and the bias carries how frequent a class is.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from histoproto.contracts import ClassMaps, FeaturePyramid, Method, MethodSettings, StepOutput
from histoproto.errors import ConfigError
from histoproto.prototypes.grouping import counts_per_class


class CAM(Method):
    """One linear classifier per class on every pixel of the last level.

    Args:
        backbone: trained feature extractor; its last level is used.
        classes: number of tissue classes C.
        settings: the common ones; a class has one weight vector.

    Raises:
        ConfigError: if more than one prototype per class is asked for.
    """

    unit_maps = False

    def __init__(self, backbone: FeaturePyramid, classes: int, settings: MethodSettings) -> None:
        super().__init__()
        self.counts = counts_per_class(settings.prototypes_per_class, classes)
        if max(self.counts) > 1:
            raise ConfigError("cam has one weight vector per class; set model.prototypes_per_class to 1")
        self.backbone = backbone
        self.prototypes = nn.Parameter(nn.init.trunc_normal_(torch.empty(classes, backbone.channels[-1]), std=0.02))
        self.biases = nn.Parameter(torch.zeros(classes))

    def _maps(self, images: Tensor) -> Float[Tensor, "batch classes height width"]:
        features = self.backbone(images)[-1]  # (B, D, h, w)
        return torch.einsum("bdhw,cd->bchw", features, self.prototypes).float() + self.biases[:, None, None]

    def training_step(
        self, images: Float[Tensor, "batch 3 height width"], labels: Float[Tensor, "batch classes"], step: int
    ) -> StepOutput:
        """Return the binary cross-entropy of the pooled scores; see the base class."""
        scores = self._maps(images).mean((-2, -1))  # (B, C)
        classification = binary_cross_entropy_with_logits(scores, labels)
        return StepOutput(classification, {"classification": classification.detach()})

    def class_maps(self, images: Float[Tensor, "batch 3 height width"]) -> ClassMaps:
        """Return the logits of each pixel, on the grid of the last level; see the base class."""
        maps = self._maps(images)
        return ClassMaps(maps, maps)

    def prototype_maps(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch prototypes _height _width"]:
        """Return ``2 sigmoid(M) - 1``: 0 where a pixel is as likely to show the class as not; see the base class."""
        return (self._maps(images) / 2).tanh()
