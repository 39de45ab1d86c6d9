"""The sweep's folder: ``sweep.json`` says what it is made of, so that the same command goes on and another is refused.

::

    sweep.json      cells, split, data, sizes: what a second call must agree with
    study/          the drawn phantom, or the few patches of a tiny sweep
    helper/         the run whose backbone is the encoder ``helper``
    CELL/seed-N/    a run folder each, with settings.yaml, bank/ and log.txt
    figures.csv     every figure of every cell and seed
    table.csv  table.md  table.tex  table.png
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from histoproto.atomic import write_json
from histoproto.errors import RunError
from histoproto.sweeps.cells import Cell

SCHEMA = "histoproto/sweep/1"
RECORD = "sweep.json"


@dataclass(frozen=True)
class SweepFolder:
    """Where everything of a sweep lies."""

    path: Path

    @property
    def study(self) -> Path:
        """The study that the sweep made for itself."""
        return self.path / "study"

    @property
    def helper(self) -> Path:
        """Run folder of the helper."""
        return self.path / "helper"

    def cell(self, cell: Cell, seed: int) -> Path:
        """Run folder of a cell; where nothing is trained there are no seeds."""
        folder = self.path / cell.slug
        return folder if cell.zeroshot is not None else folder / f"seed-{seed}"

    def agree(self, record: dict[str, Any]) -> None:
        """Check that the folder is new, or holds this very sweep.

        Args:
            record: what ``describe`` returned.

        Raises:
            RunError: if it holds something else.
        """
        file = self.path / RECORD
        if not file.is_file():
            if self.path.exists() and (not self.path.is_dir() or any(_visible(self.path))):
                raise RunError(f"{self.path} is not empty and holds no sweep; choose another folder with --out")
            return
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise RunError(f"{file} cannot be read; choose another folder with --out, or remove this one") from None
        for part, value in json.loads(json.dumps(record)).items():
            if held.get(part) != value:
                raise RunError(
                    f"{self.path} holds the sweep {held.get('name')} made with {_words(part)} ({RECORD} there says "
                    "which); choose another folder with --out, or remove this one"
                )

    def write(self, record: dict[str, Any]) -> None:
        """Write what the sweep is made of."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / RECORD, record)


def describe(name: str, cells: list[Cell], helper: Cell | None, split: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return all that two calls must agree on to share a folder; seeds and processes may differ.

    Args:
        name: of the sweep.
        cells: with everything that the command line adds.
        helper: None where no cell needs it.
        split: split to evaluate.
        data: what the study is, or how it is made.
    """
    return {
        "schema": SCHEMA,
        "name": name,
        "cells": [asdict(cell) for cell in cells],
        "helper": None if helper is None else asdict(helper),
        "split": split,
        "data": data,
    }


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != ".lock"]


def _words(part: str) -> str:
    words = {"name": "another name", "data": "other data", "split": "another split", "schema": "another version"}
    return words.get(part, "other settings")
