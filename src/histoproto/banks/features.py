"""Each patch as a frozen encoder sees it, kept between commands."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from histoproto.atomic import replacing
from histoproto.banks.white import white_share
from histoproto.contracts import ImageEncoder
from histoproto.frozen import Pretrained
from histoproto.images import read_rgb

Advance = Callable[[int], None]
"""Called with the number of patches just finished."""


class PatchFeatures(NamedTuple):
    """What a bank needs to know of each patch."""

    vectors: Float[Tensor, "patches dim"]
    """The encoder's features, not normalised, on the CPU."""
    white: Float[Tensor, " patches"]
    """Share of white pixels, 0..1."""


def fingerprint(encoder: nn.Module) -> str:
    """Return a sha256 over every number of a network, those outside its state dict included."""
    digest = hashlib.sha256(type(encoder).__name__.encode())
    for tensor in _tensors(encoder):
        digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
    for module in network.modules():
        if isinstance(module, Pretrained):
            yield from _tensors(module.network)


def encode_patches(
    encoder: ImageEncoder, paths: Sequence[Path], device: torch.device, on_progress: Advance, batch: int = 32
) -> PatchFeatures:
    """Return features and white shares of patches, in their order.

    Args:
        encoder: moved to the device.
        paths: patches, of any sizes; neighbours of one size go through the encoder together.
        device: where the encoder runs.
        on_progress: called after each batch.
        batch: most patches at once.
    """
    encoder.to(device).eval()
    vectors: list[Tensor] = []
    white: list[float] = []
    workers = min(8, 2 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool, torch.inference_mode():
        for start in range(0, len(paths), batch):
            pictures = list(pool.map(read_rgb, paths[start : start + batch]))
            white += [white_share(picture) for picture in pictures]
            for _, alike in groupby(pictures, key=lambda picture: picture.shape):
                pixels = torch.stack([torch.from_numpy(picture.transpose(2, 0, 1).copy()) for picture in alike])
                vectors.append(encoder(pixels.to(device).float() / 255).float().cpu())
            on_progress(len(pictures))
    return PatchFeatures(torch.cat(vectors), torch.tensor(white))


def load_features(file: Path, key: str) -> PatchFeatures | None:
    """Return kept features; None where there are none, they are of other content, or the file is damaged."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as held:
            if (held.metadata() or {}).get("key") != key:
                return None
            return PatchFeatures(held.get_tensor("vectors"), held.get_tensor("white"))
    except (SafetensorError, OSError):
        return None  # they are only a saving of time and are computed again


def save_features(file: Path, key: str, features: PatchFeatures) -> None:
    """Keep features under the key of their content."""
    with replacing(file) as temporary:
        save_file(features._asdict(), temporary, metadata={"key": key})
