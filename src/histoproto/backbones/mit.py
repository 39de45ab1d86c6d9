"""SegFormer's encoder, the Mix Transformer MiT-B0 to B5, as a pyramid.

Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", NeurIPS 2021.
The code is transformers' (Apache-2.0); the tensors may come from NVIDIA's own ``.pth`` files or from the hub.

Differences from transformers: the last stage keeps its resolution (patch strides 4, 2, 2, 1, as in PBIP and
LPD, instead of 4, 2, 2, 2); LayerNorm's ε and the random weights are those of NVIDIA's code.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import mul

from jaxtyping import Float
from torch import Tensor, nn
from transformers import SegformerConfig, SegformerModel

from histoproto.attention import attend_fast
from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.errors import ConfigError
from histoproto.normalise import Normalise
from histoproto.weights import fill, initialise

LICENCE = "NVIDIA Source Code License for SegFormer: non-commercial, research or evaluation only"
HEADS = ("head.", "classifier.", "decode_head.")
"""Prefixes of classification and segmentation heads in published files; the backbone has no use for them."""


@dataclass(frozen=True)
class MiTShape:
    """Sizes of the four stages."""

    channels: tuple[int, int, int, int]
    """C_i, width of each stage."""
    depths: tuple[int, int, int, int]
    """L_i, transformer blocks of each stage."""
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    """N_i, attention heads of each stage; divide the width."""
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    """R_i, factor by which keys and values are made smaller along each side."""
    strides: tuple[int, int, int, int] = (4, 2, 2, 1)
    """S_i, stride of each stage's patch embedding against the stage before."""


_WIDE = (64, 128, 320, 512)
VARIANTS: dict[str, MiTShape] = {
    "b0": MiTShape((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": MiTShape(_WIDE, (2, 2, 2, 2)),
    "b2": MiTShape(_WIDE, (3, 4, 6, 3)),
    "b3": MiTShape(_WIDE, (3, 4, 18, 3)),
    "b4": MiTShape(_WIDE, (3, 8, 27, 3)),
    "b5": MiTShape(_WIDE, (3, 6, 40, 3)),
}


class MiT(FeaturePyramid):
    """Four levels, each after its stage's LayerNorm.

    Args:
        shape: sizes of the stages.
        drop_path: probability to skip the last block's residual branches; it rises linearly from 0.
        normalise: input normalisation; ImageNet's where None.
    """

    def __init__(self, shape: MiTShape, drop_path: float = 0.1, normalise: Normalise | None = None) -> None:
        super().__init__()
        self.channels = shape.channels
        self.strides = tuple(accumulate(shape.strides, mul))
        self.normalise = normalise or Normalise()
        self.network = SegformerModel(
            SegformerConfig(
                depths=shape.depths,
                sr_ratios=shape.reductions,
                hidden_sizes=shape.channels,
                strides=shape.strides,
                num_attention_heads=shape.heads,
                drop_path_rate=drop_path,
            )
        )
        attend_fast(self.network)
        _set_epsilon(self.network)
        self.network.apply(_randomise)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return four maps, finest first."""
        return list(self.network(self.normalise(images), output_hidden_states=True).hidden_states)

    def fill(self, tensors: Mapping[str, Tensor], source: str) -> int:
        """Load tensors under NVIDIA's or the hub's names, all of them or none; return their number.

        Raises:
            WeightsError: if a tensor is missing, has another shape, or has no place.
        """
        return fill(self, self.rename(tensors), source, HEADS)

    def rename(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors under this network's own names; what has no place keeps a name of its own."""
        own = {_common_name(name.removeprefix("network.")): name for name in self.state_dict()}
        common = {_common_name(name): tensor for name, tensor in tensors.items()}
        return {own.get(name, name): tensor for name, tensor in _split_keys_and_values(common).items()}


def mit(
    variant: str,
    weights: str | None = None,
    normalise: Normalise | None = None,
    strides: tuple[int, int, int, int] = (4, 2, 2, 1),
    drop_path: float = 0.1,
) -> tuple[MiT, LoadedWeights]:
    """Build a MiT, from random weights unless a source is given.

    Args:
        variant: ``b0`` to ``b5``.
        weights: NVIDIA's ``.pth``, a hub folder, or for example ``hf:nvidia/mit-b1@main``.
        normalise: input normalisation; ImageNet's where None.
        strides: of the patch embeddings; 4, 2, 2, 1 in the papers, 4, 2, 2, 2 in SegFormer.
        drop_path: probability to skip the last block's residual branches.

    Raises:
        ConfigError: if there is no such variant.
    """
    if variant not in VARIANTS:
        raise ConfigError(f"unknown MiT variant {variant!r}; there are {', '.join(VARIANTS)}")
    network = MiT(replace(VARIANTS[variant], strides=strides), drop_path, normalise)
    return network, initialise(network, weights, rename=network.rename, ignore=HEADS, licence=LICENCE)


# One naming for all: NVIDIA's, but counted from 0 and with keys and values apart. The left side holds the names
# in hub files (of transformers 4) and of transformers 5's modules, which share some.
_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(segformer|backbone)\.", ""),
        (r"^encoder\.", ""),
        (r"^(?:stages\.(\d)\.patch_embeddings|patch_embeddings\.(\d))\.", r"patch_embed.\1\2."),
        (r"^(patch_embed\.\d)\.layer_norm", r"\1.norm"),
        (r"^stages\.(\d)\.blocks\.", r"block.\1."),
        (r"^(?:stages\.(\d)\.layer_norm|layer_norm\.(\d))", r"norm.\1\2"),
        (r"\.attention\.(?:self\.query|q_proj)", ".attn.q"),
        (r"\.attention\.(?:self\.key|k_proj)", ".attn.k"),
        (r"\.attention\.(?:self\.value|v_proj)", ".attn.v"),
        (r"\.attention\.(?:self\.sr|sequence_reduction\.sequence_reduction)", ".attn.sr"),
        (r"\.attention\.(?:self|sequence_reduction)\.layer_norm", ".attn.norm"),
        (r"\.attention\.(?:output\.dense|o_proj)", ".attn.proj"),
        (r"\.mlp\.dense(\d)", r".mlp.fc\1"),
        (r"\.(?:layer_norm_1|layernorm_before)", ".norm1"),
        (r"\.(?:layer_norm_2|layernorm_after)", ".norm2"),
    )
)


def _common_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return re.sub(r"^(patch_embed|block|norm)(\d)(?=\.)", lambda found: f"{found[1]}.{int(found[2]) - 1}", name)


def _split_keys_and_values(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    split: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".attn.kv." in name:
            split[name.replace(".kv.", ".k.")], split[name.replace(".kv.", ".v.")] = tensor.chunk(2)
        else:
            split[name] = tensor
    return split


def _set_epsilon(network: nn.Module) -> None:
    """Set ε to 1e-6 around blocks and after stages, and to 1e-5 in patch embeddings and reductions."""
    for name, module in network.named_modules():
        if isinstance(module, nn.LayerNorm):
            outer = re.fullmatch(r"block\.\d\.\d+\.norm[12]|norm\.\d", _common_name(name))
            module.eps = 1e-6 if outer else 1e-5


def _randomise(module: nn.Module) -> None:
    """Draw NVIDIA's random weights; transformers draws all from N(0, 0.02²), too small for depth-wise 3×3."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)  # NVIDIA's is cut at 100 standard deviations: the same
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
