"""A backbone that does not train: a student's trunk under adapters, or a teacher."""

from jaxtyping import Float
from torch import Tensor

from histoproto.contracts import FeaturePyramid
from histoproto.frozen import freeze


class FrozenPyramid(FeaturePyramid):
    """The levels of a frozen backbone, always in evaluation mode; gradients reach its input.

    Args:
        backbone: frozen in place.
        pretrained: whether its weights come from a source that gives them back; checkpoints then leave them out.
    """

    def __init__(self, backbone: FeaturePyramid, *, pretrained: bool) -> None:
        super().__init__()
        self.channels = tuple(backbone.channels)
        self.strides = tuple(backbone.strides)
        self.frozen = freeze(backbone, pretrained=pretrained)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return the backbone's levels, finest first."""
        levels: list[Tensor] = self.frozen(images)
        return levels
