"""Randomness as a function of where training stands, so that nothing has to be stored to resume it."""

import hashlib

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ORDER, AUGMENT, METHOD, MOSAIC = range(4)
"""Streams of random numbers that must not depend on each other: patches, augmentation, dropout, mosaics."""


def derive_seed(*parts: int) -> int:
    """Return a seed in [0, 2^63) that depends on every part and on their order."""
    text = ",".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def uniform_draws(seed: int, indices: Int64[Tensor, " batch"], draws: int) -> Float[Tensor, "batch draws"]:
    """Return uniform numbers in [0, 1) that depend on the seed and the patch's index alone.

    The counter-based generator SplitMix64 (Steele, Lea, Flood 2014, *Fast splittable pseudorandom number
    generators*): no state, so a patch gets the same numbers in whatever batch, process or worker it appears.

    Args:
        seed: seed of the stream, as from `derive_seed`.
        indices: index of each patch in its data set, below 2^48.
        draws: numbers per patch, below 2^15.
    """
    counter = indices.cpu()[:, None] * 2**15 + torch.arange(1, draws + 1)
    mixed = counter * _signed(0x9E3779B97F4A7C15) + seed
    mixed = (mixed ^ _shifted(mixed, 30)) * _signed(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ _shifted(mixed, 27)) * _signed(0x94D049BB133111EB)
    mixed ^= _shifted(mixed, 31)
    return _shifted(mixed, 40).float() * 2.0**-24


def _signed(constant: int) -> int:
    """Return an unsigned 64-bit constant as the signed number with the same bits."""
    return constant - 2**64


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift of int64 copies the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
