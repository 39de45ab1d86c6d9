"""A pretrained network behind its own input size and normalisation."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from histoproto.contracts import ImageEncoder
from histoproto.encoders.cards import EncoderCard
from histoproto.frozen import freeze
from histoproto.normalise import Normalise


class ResizedEncoder(ImageEncoder):
    """Resize to the network's side (bilinear, with antialiasing), normalise, encode.

    Args:
        network: image ``(batch, 3, input_px, input_px)`` to vector ``(batch, dim)``; it is frozen.
        card: side, mean, standard deviation and length of the vector.
        pretrained: whether a source gives the weights back, so that checkpoints leave them out.
    """

    def __init__(self, network: nn.Module, card: EncoderCard, *, pretrained: bool) -> None:
        super().__init__()
        self.dim = card.dim
        self.input_px = card.input_px
        self.normalise = Normalise(card.mean, card.std)
        self.frozen = freeze(network, pretrained=pretrained)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Return one vector per image, not normalised."""
        side = (self.input_px, self.input_px)
        if images.shape[-2:] != side:
            images = interpolate(images, size=side, mode="bilinear", align_corners=False, antialias=True)
        vectors: Tensor = self.frozen(self.normalise(images))
        return vectors
