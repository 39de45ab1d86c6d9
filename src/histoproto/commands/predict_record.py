"""``predict.json``: which inputs a folder of results is about, and what they are predicted with.

One entry per set of options, since a folder may be filled by several commands; an input belongs to the last command
that named it. Plain values, so that ``histoproto slides retry`` needs no pickle.
"""

import fcntl
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from histoproto.atomic import write_json
from histoproto.commands.predict_input import PredictOptions
from histoproto.commands.predict_many import Engine
from histoproto.commands.predict_task import Task
from histoproto.commands.slide_state import read_state
from histoproto.errors import DataError, RunError

SCHEMA = "histoproto/predict/1"
RECORD = "predict.json"


@dataclass(frozen=True)
class Command:
    """What a command was told."""

    options: PredictOptions
    engine: Engine
    inputs: dict[str, Path]
    """Absolute paths of all inputs of all shards, by the name of their folders."""


_COMMANDS = TypeAdapter(list[Command])


def read_commands(out: Path) -> list[Command]:
    """Return the commands that fill a folder.

    Raises:
        RunError: if the folder has no record, or one that cannot be read.
    """
    file = out / RECORD
    if not file.is_file():
        raise RunError(f"{out} holds no {RECORD}; name the folder given to histoproto predict --out")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise RunError(f"{file} is {content['schema']}, not {SCHEMA}; give the command histoproto predict again")
        return _COMMANDS.validate_python(content["commands"])
    except (ValueError, TypeError, KeyError, ValidationError):
        raise RunError(f"{file} is damaged; give the command histoproto predict again") from None


def record_command(out: Path, options: PredictOptions, engine: Engine, tasks: Sequence[Task]) -> None:
    """Note what a command is about to do, beside what others did in the same folder.

    Args:
        out: folder of results; made if absent.
        options: run and how inputs are read.
        engine: who predicts.
        tasks: all inputs, whatever the shard.

    Raises:
        DataError: if the folder cannot be made or written to, or the folder of an input belongs to another one.
        RunError: if its record cannot be read.
        HistoprotoError: if the record cannot be written.
    """
    command = Command(options, engine, {task.name: task.file.absolute() for task in tasks})
    with _locked(out):
        before = read_commands(out) if (out / RECORD).is_file() else []
        _require_own_folders(before, tasks)
        commands = _with(before, command)
        if commands != before:
            write_json(out / RECORD, {"schema": SCHEMA, "commands": _plain(commands)})


def _require_own_folders(before: Iterable[Command], tasks: Iterable[Task]) -> None:
    """Refuse to replace the results of one file by those of another of the same name."""
    recorded = {name: path for command in before for name, path in command.inputs.items()}
    for task in tasks:
        state = read_state(task.folder)
        owner = Path(state.input) if state else recorded.get(task.name)
        if owner is not None and owner.resolve() != task.file.resolve():
            what = "holds the result of" if state else "is the folder of"
            raise DataError(f"{task.folder} {what} {owner}, not of {task.file}; choose another folder with --out")


def _with(before: list[Command], command: Command) -> list[Command]:
    others = [
        Command(other.options, other.engine, {n: p for n, p in other.inputs.items() if n not in command.inputs})
        for other in before
    ]
    inputs = {name: path for other in others if other.options == command.options for name, path in other.inputs.items()}
    kept = [other for other in others if other.inputs and other.options != command.options]
    return [*kept, Command(command.options, command.engine, dict(sorted((inputs | command.inputs).items())))]


def _plain(commands: list[Command]) -> list[dict[str, Any]]:
    plain: list[dict[str, Any]] = _COMMANDS.dump_python(commands, mode="json")
    return plain


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Make a folder and keep other commands from its record."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out} cannot be made ({error.strerror}); choose another folder with --out") from None
    try:
        handle = (out / ".lock").open("a")
    except OSError as error:
        raise DataError(f"{out} cannot be written to ({error.strerror}); choose another folder with --out") from None
    with handle:
        _lock(handle.fileno())
        yield


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return  # no locks on this file system; shards of one command write the same record
