"""The bank's folder, which appears whole or not at all.

::

    prototypes.safetensors   ``prototypes``, one row of unit length per sub-class, in class order
    patches.parquet          the patches that stand for each sub-class
    sheets/CLASS.png         the same for eyes
    bank.json                encoder, data, settings, counts, versions; says that the folder is complete
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from histoproto.atomic import replacing_folder
from histoproto.errors import DataError

BANK_FILE = "bank.json"
PROTOTYPES_FILE = "prototypes.safetensors"
PATCHES_FILE = "patches.parquet"
SHEETS = "sheets"


@dataclass(frozen=True)
class Bank:
    """A finished bank."""

    folder: Path
    record: dict[str, Any]
    """The content of ``bank.json``."""
    prototypes: Float[Tensor, "prototypes dim"]
    """Rows of unit length, in class order."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the prototypes."""
        return tuple(entry["name"] for entry in self.record["classes"])

    @property
    def counts(self) -> tuple[int, ...]:
        """Prototypes per class."""
        return tuple(len(entry["sub_classes"]) for entry in self.record["classes"])

    @property
    def encoder(self) -> dict[str, Any]:
        """``name``, ``weights``, ``fingerprint`` and provenance of the encoder that saw the patches."""
        encoder: dict[str, Any] = self.record["encoder"]
        return encoder


def content_key(content: dict[str, Any]) -> str:
    """Return a sha256 of plain values, the same for the same values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_bank(folder: Path) -> Bank:
    """Return a finished bank.

    Raises:
        DataError: if the folder holds none, is incomplete, or its prototypes were changed.
    """
    if not (folder / BANK_FILE).is_file():
        raise DataError(
            f"{folder} is no image bank (no {BANK_FILE}); make one with: histoproto bank STUDY --out {folder}"
        )
    again = "remove the folder and make it again with histoproto bank"
    try:
        record: dict[str, Any] = json.loads((folder / BANK_FILE).read_text(encoding="utf-8"))
        held = file_hash(folder / PROTOTYPES_FILE)
        if held != record["prototypes_sha256"]:
            raise DataError(f"{folder / PROTOTYPES_FILE} is not the file that {BANK_FILE} describes; {again}")
        return Bank(folder, record, load_file(folder / PROTOTYPES_FILE)["prototypes"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DataError(f"{folder} is an incomplete image bank ({type(error).__name__}: {error}); {again}") from None


@contextmanager
def writing_bank(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside ``folder`` that takes its place when the block ends without error.

    Raises:
        DataError: if ``folder`` exists and is not empty.
        HistoprotoError: if it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and holds no complete image bank; remove it or choose another folder")
    with replacing_folder(folder) as temporary:
        yield temporary
