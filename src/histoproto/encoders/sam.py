"""Segment Anything: a photograph and points in, outlines of what lies there out.

Kirillov et al., "Segment Anything", ICCV 2023; Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024. The
networks are transformers' (Apache-2.0). Weights are folders or repositories in its format: ``config.json`` of
``model_type`` *sam* (MedSAM is one of these), *sam2* or *sam2_video*, and the tensors beside it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

from histoproto.contracts import LoadedWeights
from histoproto.encoders.hub_folder import CONFIG, config_file
from histoproto.errors import WeightsError
from histoproto.normalise import Normalise
from histoproto.weights import fill, read_weights

POINTS_AT_ONCE = 64
"""Points that the mask decoder sees at once, which bounds memory."""
AUTHORS = ("hf:facebook/sam-vit-", "hf:facebook/sam2")
"""Where the authors publish their weights, of both networks under Apache-2.0."""
VIDEO_ONLY = (
    "memory_",
    "mask_downsample",
    "object_pointer_proj",
    "temporal_positional_encoding_projection_layer",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
)
"""Prefixes of what a network for videos has besides."""
TIED = ("prompt_encoder.shared_embedding.positional_embedding", "shared_image_embedding.positional_embedding")
"""Two names of one tensor of SAM, of which a file holds one or both."""


class Proposals(NamedTuple):
    """Masks that the network offers for some points."""

    logits: Float[Tensor, "masks rows columns"]
    """Positive inside, on the network's own grid; ``full_size`` brings them to pixels."""
    quality: Float[Tensor, " masks"]
    """IoU with the object that the network expects of each."""


class SegmentAnything:
    """A frozen network with its way to prepare photographs.

    Args:
        network: ``SamModel`` or ``Sam2Model``.
        side_px: side of the square that it sees.
        stretches: whether photographs are stretched to the square (SAM 2) or padded to it (SAM).
    """

    def __init__(self, network: nn.Module, side_px: int, *, stretches: bool) -> None:
        self.network: Any = network.eval().requires_grad_(False)
        self.side_px = side_px
        self.stretches = stretches
        self._normalise = Normalise()

    @torch.no_grad()
    def propose(self, image: Float[Tensor, "3 height width"], points: Float[Tensor, "points 2"]) -> Iterator[Proposals]:
        """Yield three masks for each point, some points at a time.

        Args:
            image: RGB in [0, 1].
            points: x and y as fractions of width and height.
        """
        rows, columns = self._inner(*image.shape[-2:])
        inner = interpolate(image[None], size=(rows, columns), mode="bilinear", antialias=True, align_corners=False)
        square = pad(self._normalise(inner), (0, self.side_px - columns, 0, self.side_px - rows))
        embeddings = self.network.get_image_embeddings(square)
        for some in torch.split(points * torch.tensor([columns, rows]), POINTS_AT_ONCE):
            found = self.network(image_embeddings=embeddings, input_points=some[None, :, None], multimask_output=True)
            yield Proposals(found.pred_masks[0].flatten(0, 1), found.iou_scores[0].flatten())

    def full_size(
        self, logits: Float[Tensor, "rows columns"], height: int, width: int
    ) -> Bool[Tensor, "{height} {width}"]:
        """Return one mask at the photograph's own size."""
        rows, columns = self._inner(height, width)
        square = interpolate(logits[None, None], size=(self.side_px,) * 2, mode="bilinear", align_corners=False)
        inner = square[..., :rows, :columns]
        return interpolate(inner, size=(height, width), mode="bilinear", align_corners=False)[0, 0] > 0

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        """Return which part of the square the photograph takes."""
        if self.stretches:
            return self.side_px, self.side_px
        scale = self.side_px / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))


def segment_anything(source: str) -> tuple[SegmentAnything, LoadedWeights]:
    """Build SAM or SAM 2 from its weights.

    Args:
        source: ``hf:organisation/name@revision`` or a folder.

    Raises:
        WeightsError: if it cannot be found or read, is of another network, or its tensors do not fit.
    """
    tensors, found = read_weights(source)
    config = _read_config(source)
    settings: Any  # transformers does not say of which type its parts are
    if config["model_type"] == "sam":
        settings = SamConfig.from_dict(config)
        sam = SegmentAnything(SamModel(settings), settings.vision_config.image_size, stretches=False)
        tensors = _untied(tensors)
    else:
        parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
        settings = Sam2Config.from_dict({part: config[part] for part in parts if part in config})
        sam = SegmentAnything(Sam2Model(settings), settings.prompt_encoder_config.image_size, stretches=True)
    count = fill(sam.network, tensors, source, VIDEO_ONLY)
    return sam, LoadedWeights(source, found.sha256, count, sam_licence(source))


def sam_licence(source: str) -> str | None:
    """Return the licence of the authors' own weights; of others, where to look."""
    if source.startswith(AUTHORS):
        return "Apache-2.0"
    if source.startswith("hf:"):
        return f"see https://huggingface.co/{source.removeprefix('hf:').partition('@')[0]}"
    return None


def _read_config(source: str) -> dict[str, Any]:
    try:
        config = json.loads(config_file(source).read_text(encoding="utf-8"))
    except (HfHubHTTPError, EntryNotFoundError, OSError, ValueError) as error:
        raise WeightsError(
            f"{source}: {CONFIG} is missing or damaged ({type(error).__name__}); give a folder or hf:org/name in "
            "transformers' format, such as hf:facebook/sam-vit-base"
        ) from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in ("sam", "sam2", "sam2_video"):
        raise WeightsError(
            f"{source}: {CONFIG} is of {kind or 'another format'}, not of sam or sam2; give a folder or hf:org/name "
            "in transformers' format, such as hf:facebook/sam-vit-base"
        )
    return dict(config)


def _untied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with the shared one under both of its names."""
    shared = [tensors[name] for name in TIED if name in tensors]
    return dict(tensors) | {name: shared[0] for name in TIED if shared and name not in tensors}
