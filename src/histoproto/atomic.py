"""Files that appear whole or not at all: write beside the target, then rename."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from histoproto.errors import DataError, HistoprotoError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that takes its place when the block ends without error.

    The temporary name keeps the suffix, so that writers which look at it still work.

    Raises:
        HistoprotoError: if the file cannot be written, for example because the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HistoprotoError(f"cannot write {target}: {reason}; free some space or choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside ``target`` that takes its place when the block ends without error.

    What a killed process left of an earlier try is removed first.

    Raises:
        DataError: if ``target`` exists and is no empty folder.
        HistoprotoError: if the folder cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} is not an empty folder; name a new one or remove what it holds")
    temporary = target.with_name(f".{target.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HistoprotoError(f"cannot write {target}: {reason}; free some space or choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, content: Any) -> None:
    """Write indented JSON atomically; NaN is refused, since JSON has none."""
    write_text(target, json.dumps(content, indent=2, allow_nan=False) + "\n")
