"""Features of past batches, as further negatives of a contrastive loss.

Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, as a queue: the
newest features take the place of the oldest.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize


class FeatureMemory(nn.Module):
    """First in, first out; everything is a buffer, so that a resumed training goes on where it stood.

    Of several processes all hold the first one's features, since DDP sends its buffers to the others.

    Args:
        size: how many features are kept.
        dim: length of a feature.
        classes: number of classes.
        random_start: begin full of random directions, as the released ConStruct does, instead of empty.
    """

    features: Tensor
    holds: Tensor
    place: Tensor
    filled: Tensor

    def __init__(self, size: int, dim: int, classes: int, *, random_start: bool = False) -> None:
        super().__init__()
        start = normalize(torch.randn(size, dim), dim=1) if random_start else torch.zeros(size, dim)
        self.register_buffer("features", start)
        self.register_buffer("holds", torch.zeros(size, classes, dtype=torch.bool))
        self.register_buffer("place", torch.tensor(0))
        self.register_buffer("filled", torch.tensor(size if random_start else 0))

    def __len__(self) -> int:
        return int(self.filled)

    @torch.no_grad()
    def push(self, features: Float[Tensor, "new dim"], holds: Bool[Tensor, "new classes"]) -> None:
        """Take in features, at unit length; of more than there is room for, the last ones.

        Args:
            features: the newest last.
            holds: which classes the region of each feature may contain.
        """
        size = len(self.features)
        if len(features) >= size:
            features, holds = features[-size:], holds[-size:]
            self.place.zero_()
        rows = (self.place + torch.arange(len(features), device=self.place.device)) % size
        self.features[rows] = normalize(features.to(self.features), dim=1)
        self.holds[rows] = holds
        self.place.copy_((self.place + len(features)) % size)
        self.filled.copy_((self.filled + len(features)).clamp(max=size))

    def read(self) -> tuple[Float[Tensor, "filled dim"], Bool[Tensor, "filled classes"]]:
        """Return a copy of the features that are there, at unit length, and which classes each may contain."""
        filled = len(self)
        return self.features[:filled].clone(), self.holds[:filled].clone()

    def shared(self) -> Float[Tensor, " dim"]:
        """Return the mean of the features that are there; zeros while there are none."""
        return self.features[: len(self)].sum(0) / max(1, len(self))
