"""Google's ``.npz`` files of vision transformers, read without pickle, under timm's names.

The files hold arrays as JAX keeps them: convolutions as (height, width, in, out), matrices as (in, out), attention with
its heads apart. Names as published with "An Image is Worth 16x16 Words" (``R50+ViT-B_16.npz``)::

    conv_root/kernel                                      patch_embed.backbone.stem.conv.weight
    block2/unit1/gn3/scale                                patch_embed.backbone.stages.1.blocks.0.norm3.weight
    embedding/kernel                                      patch_embed.proj.weight
    Transformer/encoderblock_7/LayerNorm_2/bias           blocks.7.norm2.bias
    Transformer/encoderblock_7/MlpBlock_3/Dense_0/kernel  blocks.7.mlp.fc1.weight
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histoproto.errors import WeightsError

QKV = ("query", "key", "value")
"""Matrices that timm keeps as one, in this order."""
_LAST = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^conv_root/", "patch_embed.backbone.stem.conv/"),
        (r"^gn_root/", "patch_embed.backbone.stem.norm/"),
        (r"/conv_proj/", "/downsample.conv/"),
        (r"/gn_proj/", "/downsample.norm/"),
        (r"/gn(\d)/", r"/norm\1/"),
        (r"^embedding/", "patch_embed.proj/"),
        (r"^cls$", "cls_token"),
        (r"^Transformer/posembed_input/pos_embedding$", "pos_embed"),
        (r"^Transformer/encoder_norm/", "norm/"),
        (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1/"),
        (r"/LayerNorm_0/", "/norm1/"),
        (r"/LayerNorm_2/", "/norm2/"),
        (r"/MlpBlock_3/Dense_0/", "/mlp.fc1/"),
        (r"/MlpBlock_3/Dense_1/", "/mlp.fc2/"),
        (r"/MultiHeadDotProductAttention_1/out/", "/attn.proj/"),
        (r"/MultiHeadDotProductAttention_1/", "/attn."),
    )
)
_UNIT = re.compile(r"^block(\d+)/unit(\d+)/")


def read_archive(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of an archive under timm's names, in timm's layout, and the file's sha256.

    Raises:
        WeightsError: if the file is absent, truncated, or holds more than plain arrays.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; give a path, hf:organisation/name@revision or none")
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (BadZipFile, EOFError, OSError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{path} is truncated or no archive of plain arrays ({type(error).__name__}); download it again"
        ) from None
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return _joined({_name(name): _turned(name, array) for name, array in arrays.items()}), digest


def _name(name: str) -> str:
    name = _UNIT.sub(lambda found: f"patch_embed.backbone.stages.{int(found[1]) - 1}.blocks.{int(found[2]) - 1}/", name)
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    *place, last = name.split("/")
    return ".".join([*place, _LAST.get(last, last)])


def _turned(name: str, array: NDArray[np.generic]) -> Tensor:
    """Return an array with axes in torch's order: outputs first."""
    tensor = torch.from_numpy(np.ascontiguousarray(array)).float()
    if name.endswith(("scale", "bias")):
        return tensor.flatten()  # GroupNorm's are (1, 1, 1, channels), those of attention (heads, width)
    if not name.endswith("kernel"):
        return tensor
    if "MultiHeadDotProductAttention" in name:
        merged = tensor.flatten(0, 1) if name.endswith("out/kernel") else tensor.flatten(1)
        return merged.T.contiguous()
    return (tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T).contiguous()


def _joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with queries, keys and values of each block as one."""
    joined = {name: tensor for name, tensor in tensors.items() if not re.search(r"\.attn\.(query|key|value)\.", name)}
    for name in tensors:
        parts = [name.replace(".attn.query.", f".attn.{part}.") for part in QKV]
        if ".attn.query." in name and all(part in tensors for part in parts):
            joined[name.replace(".attn.query.", ".attn.qkv.")] = torch.cat([tensors[part] for part in parts])
    return joined
