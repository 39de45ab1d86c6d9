"""Prototypes that start from sentences about their class (ConStruct, MIDL 2026)."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from histoproto.errors import ConfigError


def text_prototypes(vectors: Mapping[str, Tensor], counts: Sequence[int]) -> Float[Tensor, "prototypes dim"]:
    """Return the mean of the L2-normalised vectors of a class's sentences, normalised again.

    With K prototypes a class, prototype k takes the sentences k, k + K, k + 2K, ...: each starts from other words.

    Args:
        vectors: for each class by its name, in class order, one vector per sentence ``(sentences, dim)``.
        counts: prototypes of each class, K.

    Returns:
        Rows of unit length, in class order.

    Raises:
        ConfigError: if a class has fewer sentences than prototypes.
    """
    rows = []
    for (name, sentences), count in zip(vectors.items(), counts, strict=True):
        if len(sentences) < count:
            raise ConfigError(
                f"{name} has {len(sentences)} sentences for {count} prototypes; write more sentences into the "
                "prompt file, or lower --prototypes"
            )
        unit = normalize(sentences, dim=1)
        rows += [normalize(unit[start::count].mean(0), dim=0) for start in range(count)]
    return torch.stack(rows)
