"""From sentences to token ids: the tokenizer files that lie next to a text tower's weights.

The tokenizers themselves are transformers'; nothing is fetched but the named files of the weights' own repository.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import BertTokenizer, CLIPTokenizer, PreTrainedTokenizerFast

from histoproto.errors import WeightsError

CONCH_FILE = "conch_byte_level_bpe_uncased.json"


@dataclass(frozen=True)
class Vocabulary:
    """What a text tower expects of its tokenizer."""

    tokens: int
    """Rows of the token embedding."""
    context: int
    """Most tokens of a sentence, those of its start and end included; the rest is cut off."""
    fixed: bool = False
    """Whether every sentence is padded to the whole context, or to the longest sentence beside it."""


class Tokeniser:
    """Sentences to token ids.

    Args:
        tokenizer: a tokenizer of transformers.
        vocabulary: number of tokens, length and padding.
        files: the files it was read from.
    """

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary, files: Sequence[Path]) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.files = tuple(files)

    def __call__(
        self, sentences: Sequence[str]
    ) -> tuple[Int[Tensor, "sentences tokens"], Bool[Tensor, "sentences tokens"]]:
        """Return token ids and where they are no padding."""
        found = self.tokenizer(
            list(sentences),
            max_length=self.vocabulary.context,
            truncation=True,
            padding="max_length" if self.vocabulary.fixed else "longest",
            return_tensors="pt",
        )
        return found["input_ids"], found["attention_mask"].bool()

    def note(self) -> str:
        """Return the files' names and sha256 sums, for ``run.json``."""
        return "tokenizer " + ", ".join(
            f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in self.files
        )


def clip_tokens(weights: str, vocabulary: Vocabulary) -> Tokeniser:
    """Return CLIP's tokenizer: ``tokenizer.json``, or ``vocab.json`` with ``merges.txt``, next to the weights.

    Raises:
        WeightsError: if the files are missing, damaged or of another vocabulary.
    """
    files = beside(weights, ("tokenizer.json",), ("vocab.json", "merges.txt"))
    return _read(CLIPTokenizer.from_pretrained, files[0].parent, vocabulary, files)


def bert_tokens(weights: str, vocabulary: Vocabulary) -> Tokeniser:
    """Return BERT's tokenizer, small letters only: ``vocab.txt`` next to the weights.

    Raises:
        WeightsError: if the file is missing, damaged or of another vocabulary.
    """
    files = beside(
        weights,
        ("vocab.txt",),
        hint="put there the one of https://huggingface.co/emilyalsentzer/Bio_ClinicalBERT",
    )
    return _read(lambda file: BertTokenizer(str(file), do_lower_case=True), files[0], vocabulary, files)


def conch_tokens(weights: str, vocabulary: Vocabulary) -> Tokeniser:
    """Return CONCH's tokenizer: ``conch_byte_level_bpe_uncased.json`` of its package, next to the weights.

    Raises:
        WeightsError: if the file is missing, damaged or of another vocabulary.
    """
    files = beside(
        weights,
        (CONCH_FILE,),
        hint="take it from conch/open_clip_custom/tokenizers of https://github.com/mahmoodlab/CONCH, "
        "put it into a folder with pytorch_model.bin and give the folder",
    )
    fast: Callable[..., Any] = partial(
        PreTrainedTokenizerFast, bos_token="<start_of_text>", eos_token="<end_of_text>", pad_token="<pad>"
    )
    return _read(lambda file: fast(tokenizer_file=str(file)), files[0], vocabulary, files)


def beside(weights: str, *sets: Sequence[str], hint: str | None = None) -> list[Path]:
    """Return the first complete set of files that lies next to the weights.

    Args:
        weights: ``hf:organisation/name@revision``, a file, or a folder.
        sets: names of files that belong together, in order of preference.
        hint: what to do if there is none; to get the whole folder if None.

    Raises:
        WeightsError: if no set is complete.
    """
    if weights == "none":
        raise WeightsError("text needs a tokenizer, which lies next to the weights: give weights, not none")
    for names in sets:
        files = [_find(weights, name) for name in names]
        found = [file for file in files if file is not None]
        if len(found) == len(names):
            return found
    wanted = " nor ".join(" with ".join(names) for names in sets)
    hint = hint or (f"run: hf download {_repository(weights)[0]}" if weights.startswith("hf:") else "copy it there")
    raise WeightsError(
        f"{weights}: text needs a tokenizer, but {'neither ' if len(sets) > 1 else 'no '}{wanted} could be found "
        f"next to the weights; {hint}"
    )


def _find(weights: str, name: str) -> Path | None:
    if weights.startswith("hf:"):
        repository, revision = _repository(weights)
        try:
            return Path(hf_hub_download(repository, name, revision=revision))
        except (HfHubHTTPError, EntryNotFoundError, OSError):
            return None
    path = Path(weights).expanduser()
    file = (path if path.is_dir() else path.parent) / name
    return file if file.is_file() else None


def _repository(weights: str) -> tuple[str, str | None]:
    repository, _, revision = weights.removeprefix("hf:").partition("@")
    return repository, revision or None


def _read(read: Callable[[Path], Any], place: Path, vocabulary: Vocabulary, files: Sequence[Path]) -> Tokeniser:
    try:
        tokenizer = read(place)
        tokens = len(tokenizer)
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises plain Exception for a damaged file
        raise WeightsError(f"{files[0]} is no tokenizer ({type(error).__name__}); download it again") from None
    if tokens != vocabulary.tokens:
        raise WeightsError(
            f"{files[0]} has {tokens} tokens, but the text tower has {vocabulary.tokens}; "
            "give the tokenizer that came with the weights"
        )
    return Tokeniser(tokenizer, vocabulary, files)
