"""Checkpoints: a folder of tensors and JSON that is replaced as a whole.

::

    model.safetensors       the method's state
    optimizer.safetensors   AdamW's state by parameter name (only in ``last``)
    average.safetensors     moving average of the method's state (only in ``last``, and only where there is one)
    state.json              where training stands

No generator's state is kept: every random number is a function of the seed and the step. A checkpoint is written
into a hidden folder beside its place, then the old one steps aside, the new one moves in, and the old one goes.
Killed at any moment, either the old or the new one is there, if need be under the name it stepped aside to.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from histoproto.errors import RunError, WeightsError
from histoproto.training.terms import Sums

MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
AVERAGE_FILE = "average.safetensors"
STATE_FILE = "state.json"


@dataclass
class TrainState:
    """Where training stands; the only thing besides tensors that a resumed run needs."""

    seed: int
    steps_per_epoch: int
    step: int = 0
    """Optimiser steps done."""
    best_epoch: int | None = None
    """Epoch kept as ``best``, from 1."""
    best_figure: float | None = None
    """Its holdout loss or its figure over the validation masks."""
    epochs_without_improvement: int = 0
    seconds: float = 0.0
    """Time spent in training, over all sittings."""
    sums: Sums = field(default_factory=dict)
    """The terms since the epoch began."""
    history: list[dict[str, float | int]] = field(default_factory=list)
    """The rows of ``metrics.csv``."""

    @property
    def epochs_done(self) -> int:
        """Complete epochs."""
        return self.step // self.steps_per_epoch


def save_checkpoint(
    folder: Path,
    method: nn.Module,
    state: TrainState,
    optimizer: Mapping[str, Tensor] | None = None,
    average: nn.Module | None = None,
) -> None:
    """Write a checkpoint and let it take the place of the one in ``folder``.

    Tensors that share memory are stored once.

    Raises:
        RunError: if it cannot be written, for example because the disk is full; the old one stays.
    """
    with _swapping(folder) as temporary:
        save_model(method, str(temporary / MODEL_FILE))
        if optimizer is not None:
            save_file(dict(optimizer), str(temporary / OPTIMIZER_FILE))
        if average is not None:
            save_model(average, str(temporary / AVERAGE_FILE))
        text = json.dumps(asdict(state), indent=2, allow_nan=False)
        (temporary / STATE_FILE).write_text(text + "\n", encoding="utf-8")


def has_checkpoint(folder: Path) -> bool:
    """Return whether there is a checkpoint, also if a swap was cut short."""
    return any((place / STATE_FILE).is_file() for place in (folder, _aside(folder)))


def find_checkpoint(folder: Path) -> Path:
    """Return where the checkpoint of ``folder`` lies, which is elsewhere if a swap was cut short.

    Raises:
        RunError: if there is none.
    """
    for place in (folder, _aside(folder)):
        if (place / STATE_FILE).is_file():
            return place
    raise RunError(
        f"{folder} holds no checkpoint; train first: histoproto train, with --resume if the run was begun already"
    )


def settle_checkpoint(folder: Path) -> None:
    """End a swap that was cut short and remove what it left. Only the process that owns the run may do this."""
    if _aside(folder).exists() and not folder.exists():
        _aside(folder).rename(folder)
    for leftover in (_writing(folder), _aside(folder)):
        if leftover.exists():
            shutil.rmtree(leftover)


def load_state(folder: Path) -> TrainState:
    """Read where training stood.

    Raises:
        RunError: if there is no checkpoint or it cannot be read.
    """
    file = find_checkpoint(folder) / STATE_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        sums = {name: (total, count) for name, (total, count) in content.pop("sums").items()}
        return TrainState(**content, sums=sums)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{file} is damaged ({error}); train again in another run folder") from None


def load_weights(folder: Path, method: nn.Module, name: str = MODEL_FILE) -> None:
    """Put a checkpoint's weights into a method, all of them and nothing else.

    Args:
        folder: the checkpoint.
        method: what receives them.
        name: ``MODEL_FILE`` or ``AVERAGE_FILE``.

    Raises:
        RunError: if there is no checkpoint.
        WeightsError: if its file is damaged or its tensors do not fit the method.
    """
    file = find_checkpoint(folder) / name
    try:
        load_model(method, file, strict=True)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{file} cannot be read ({error}); train again in another run folder") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{file} does not fit the method of config.yaml: {reason}") from None


def load_optimizer_tensors(folder: Path) -> dict[str, Tensor]:
    """Read the optimiser's state.

    Raises:
        RunError: if it is missing or damaged.
    """
    file = find_checkpoint(folder) / OPTIMIZER_FILE
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{file} cannot be read ({error}); train again in another run folder") from None


@contextmanager
def _swapping(folder: Path) -> Iterator[Path]:
    writing, aside = _writing(folder), _aside(folder)
    try:
        settle_checkpoint(folder)
        writing.mkdir(parents=True)
        yield writing
        for file in writing.iterdir():
            _flush(file)
        if folder.exists():
            folder.rename(aside)
        writing.rename(folder)
        settle_checkpoint(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(writing, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RunError(
            f"cannot save the checkpoint {folder}: {reason}; the one before is intact: free some space, then "
            "go on with --resume"
        ) from error


def _flush(file: Path) -> None:
    """Make sure that the bytes are on the disk before the folder's name says so."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _writing(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.writing")


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.aside")
