"""Files that appear whole or not at all: write beside the target, then rename."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from histoproto.errors import HistoprotoError


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


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, content: Any) -> None:
    """Write indented JSON atomically; NaN is refused, since JSON has none."""
    write_text(target, json.dumps(content, indent=2, allow_nan=False) + "\n")
