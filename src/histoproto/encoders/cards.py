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
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_OPTIMUS_MEAN = (0.707223, 0.578729, 0.703617)
_OPTIMUS_STD = (0.211883, 0.230117, 0.177517)
_HIBOU_MEAN = (0.7068, 0.5755, 0.722)
_HIBOU_STD = (0.195, 0.2316, 0.1816)
_NO_DERIVATIVES = "CC-BY-NC-ND-4.0, also for models trained on its outputs"
_KAIKO_LICENCE = "Kaiko Non-Commercial Public License 1"


def _dinov2(size: str, dim: int) -> EncoderCard:
    return EncoderCard(f"hf:facebook/dinov2-{size}", 224, dim, _IMAGENET_MEAN, _IMAGENET_STD, "Apache-2.0")


def _kaiko(model: str, dim: int) -> EncoderCard:
    source = f"hf:1aurent/{model}.kaiko_ai_towards_large_pathology_fms"
    return EncoderCard(source, 224, dim, (0.5,) * 3, (0.5,) * 3, _KAIKO_LICENCE)


def _hibou(size: str, dim: int) -> EncoderCard:
    return EncoderCard(f"hf:histai/hibou-{size}", 224, dim, _HIBOU_MEAN, _HIBOU_STD, "Apache-2.0", gated=True)


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
    "conch-v1.5": EncoderCard(
        "hf:MahmoodLab/conchv1_5", 448, 768, _IMAGENET_MEAN, _IMAGENET_STD, _NO_DERIVATIVES, gated=True
    ),
    "dinov2-s": _dinov2("small", 384),
    "dinov2-b": _dinov2("base", 768),
    "dinov2-l": _dinov2("large", 1024),
    "uni": EncoderCard("hf:MahmoodLab/UNI", 224, 1024, _IMAGENET_MEAN, _IMAGENET_STD, _NO_DERIVATIVES, gated=True),
    "uni2-h": EncoderCard(
        "hf:MahmoodLab/UNI2-h", 224, 1536, _IMAGENET_MEAN, _IMAGENET_STD, _NO_DERIVATIVES, gated=True
    ),
    "virchow2": EncoderCard(
        "hf:paige-ai/Virchow2", 224, 2560, _IMAGENET_MEAN, _IMAGENET_STD, _NO_DERIVATIVES, gated=True
    ),
    "h-optimus-0": EncoderCard(
        "hf:bioptimus/H-optimus-0", 224, 1536, _OPTIMUS_MEAN, _OPTIMUS_STD, "Apache-2.0", gated=True
    ),
    "h-optimus-1": EncoderCard(
        "hf:bioptimus/H-optimus-1", 224, 1536, _OPTIMUS_MEAN, _OPTIMUS_STD, "CC-BY-NC-ND-4.0", gated=True
    ),
    "phikon-v2": EncoderCard(
        "hf:owkin/phikon-v2", 224, 1024, _IMAGENET_MEAN, _IMAGENET_STD, "Owkin non-commercial licence"
    ),
    "hibou-b": _hibou("b", 768),
    "hibou-l": _hibou("L", 1024),
    "kaiko-vits8": _kaiko("vit_small_patch8_224", 384),
    "kaiko-vits16": _kaiko("vit_small_patch16_224", 384),
    "kaiko-vitb8": _kaiko("vit_base_patch8_224", 768),
    "kaiko-vitb16": _kaiko("vit_base_patch16_224", 768),
    "kaiko-vitl14": _kaiko("vit_large_patch14_reg4_224", 1024),
}
"""By the name that ``--encoder`` takes."""
