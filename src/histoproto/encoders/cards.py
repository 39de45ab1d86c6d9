"""What is known of each pretrained encoder without loading it: the table of ``histoproto doctor --encoders``.

Imports no torch.
"""

from dataclasses import dataclass

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class EncoderCard:
    """Facts about one encoder's published weights."""

    source: str | None
    """``hf:organisation/name`` where the weights are by default; None where a file must be given."""
    input_px: int
    """Side of the square image that the network takes."""
    dim: int
    """Length of its vector."""
    mean: Triple
    """Input mean, RGB in [0, 1]."""
    std: Triple
    """Input standard deviation."""
    licence: str
    """Licence of the weights."""
    gated: bool = False
    """Whether the hub asks for a login and consent."""
    text: bool = False
    """Whether there is a text tower in the same space."""


_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

CARDS: dict[str, EncoderCard] = {
    "clip": EncoderCard(
        "hf:openai/clip-vit-base-patch32", 224, 512, _CLIP_MEAN, _CLIP_STD, "MIT (of openai/CLIP)", text=True
    ),
    "plip": EncoderCard("hf:vinid/plip", 224, 512, _CLIP_MEAN, _CLIP_STD, "none stated", text=True),
    "medclip": EncoderCard(
        None,
        224,
        512,
        (0.5862785803043838,) * 3,
        (0.27950088968644304,) * 3,
        "none stated for the weights (for the code, MIT and BSD)",
        text=True,
    ),
    "medclip-released": EncoderCard(
        "hf:microsoft/swin-tiny-patch4-window7-224", 224, 512, (0.0,) * 3, (1.0,) * 3, "Apache-2.0"
    ),
    "conch": EncoderCard(
        "hf:MahmoodLab/conch",
        448,
        512,
        _CLIP_MEAN,
        _CLIP_STD,
        "CC-BY-NC-ND-4.0, also for models trained on its outputs",
        gated=True,
        text=True,
    ),
    "conch-224": EncoderCard(
        "hf:MahmoodLab/conch",
        224,
        512,
        _CLIP_MEAN,
        _CLIP_STD,
        "CC-BY-NC-ND-4.0, also for models trained on its outputs",
        gated=True,
        text=True,
    ),
}
"""By the name that ``--encoder`` takes."""
