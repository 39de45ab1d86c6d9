"""How a bank is made. Plain values: importing this does not import torch."""

from dataclasses import dataclass
from typing import Literal

from histoproto.errors import ConfigError

PerClass = int | tuple[int, ...] | Literal["auto"]
"""K for all classes, K of each, or chosen by silhouette."""


@dataclass(frozen=True)
class BankSettings:
    """Settings of a bank.

    Raises:
        ConfigError: if a value is out of its range.
    """

    per_class: PerClass = 3
    """K: sub-classes of each class, one number or one per class in class order, or ``auto``."""
    nearest: int = 100
    """N_K: patches nearest to each centre that make the prototype; all of them where a sub-class has fewer."""
    choose: Literal["clustered", "random"] = "clustered"
    """How patches come together: by cosine k-means, or at random (Figure 4 of the paper)."""
    prototype: Literal["mean", "centre"] = "mean"
    """Mean of the chosen patches (paper) or the cluster's centre (released code)."""
    white_share: float = 0.5
    """Patches with a larger share of white pixels are left out, 0..1; 1 leaves out none."""
    seed: int = 0
    """Of k-means and of the random choice."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        counts = (self.per_class,) if isinstance(self.per_class, int) else self.per_class
        if not isinstance(counts, str) and min(counts) < 1:
            raise ConfigError(f"--per-class {min(counts)}: a class needs at least one sub-class")
        if self.nearest < 1:
            raise ConfigError(f"--nearest {self.nearest}: a prototype needs at least one patch")
        if not 0 <= self.white_share <= 1:
            raise ConfigError(f"--white-share {self.white_share}: a share lies between 0 and 1")
