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


CARDS: dict[str, EncoderCard] = {}
"""By the name that ``--encoder`` takes."""
