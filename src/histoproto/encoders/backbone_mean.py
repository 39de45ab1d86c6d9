"""The backbone of an earlier run as frozen encoder: knows the study's tissue, and nothing is downloaded."""

from jaxtyping import Float
from torch import Tensor

from histoproto.contracts import FeaturePyramid, ImageEncoder
from histoproto.frozen import Pretrained


class BackboneEncoder(ImageEncoder):
    """Mean over positions of a trained backbone's last level.

    Checkpoints leave it out, since its run gives it back.

    Args:
        backbone: frozen in place.
    """

    def __init__(self, backbone: FeaturePyramid) -> None:
        super().__init__()
        self.dim = backbone.channels[-1]
        self.frozen = Pretrained(backbone)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Return one vector per image, not normalised."""
        levels: list[Tensor] = self.frozen(images)
        return levels[-1].mean((-2, -1))
