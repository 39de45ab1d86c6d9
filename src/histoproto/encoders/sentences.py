"""A pretrained text tower behind its own tokenizer."""

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from histoproto.contracts import LoadedWeights, TextEncoder
from histoproto.encoders.tokens import Tokeniser
from histoproto.frozen import freeze


class SentenceEncoder(TextEncoder):
    """Tokenise, encode.

    Args:
        network: token ids and where they are real, both ``(sentences, tokens)``, to vectors; it is frozen.
        tokenise: sentences to token ids.
        dim: length of the vector.
        pretrained: whether a source gives the weights back, so that checkpoints leave them out.
    """

    def __init__(self, network: nn.Module, tokenise: Tokeniser, dim: int, *, pretrained: bool) -> None:
        super().__init__()
        self.dim = dim
        self.tokenise = tokenise
        self.frozen = freeze(network, pretrained=pretrained)

    def forward(self, sentences: Sequence[str]) -> Float[Tensor, "sentences dim"]:
        """Return one vector per sentence, not normalised."""
        device = next(self.frozen.network.parameters()).device
        ids, real = self.tokenise(sentences)
        vectors: Tensor = self.frozen(ids.to(device), real.to(device))
        return vectors


def sentence_encoder(
    network: nn.Module, tokenise: Tokeniser, dim: int, loaded: LoadedWeights
) -> tuple[SentenceEncoder, LoadedWeights]:
    """Return a frozen text tower, and its provenance with that of its tokenizer."""
    encoder = SentenceEncoder(network, tokenise, dim, pretrained=bool(loaded.tensors))
    return encoder, replace(loaded, notes=[*loaded.notes, tokenise.note()])
