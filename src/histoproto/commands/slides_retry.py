"""``histoproto slides retry``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from histoproto.commands.predict_record import Command
    from histoproto.commands.predict_task import Task


def slides_retry(
    out: Path, /, *, jobs: int | None = None, json: Annotated[bool, Parameter(negative="")] = False
) -> int:
    """Predict again what failed, with the options that histoproto predict was given.

    Args:
        out: The folder given to histoproto predict --out.
        jobs: Worker processes; fewer of them may help where memory was short. [default: as before]
        json: Print the areas as JSON.

    Returns:
        0; 3 if some failed again; 130 when interrupted (the same command goes on).

    Raises:
        RunError: if the folder is not one of histoproto predict, or its run is gone.
    """
    from histoproto.commands.next_step import say_next
    from histoproto.commands.predict_many import predict_all
    from histoproto.commands.predict_record import read_commands
    from histoproto.commands.predict_table import INTERRUPTED, conclude

    codes = [0]
    for command in read_commands(out):
        tasks = _failed(command, out)
        if tasks:
            engine = command.engine if jobs is None else replace(command.engine, jobs=jobs)
            outcomes = predict_all(command.options, tasks, engine)
            codes.append(conclude(outcomes, tasks, out, command.options.run, json=json))
        if codes[-1] == INTERRUPTED:
            break
    if len(codes) == 1:
        say_next(f"nothing failed in {out}; see histoproto slides status {out}")
    return max(codes)


def _failed(command: "Command", out: Path) -> "list[Task]":
    from histoproto.commands.predict_task import Task
    from histoproto.commands.slide_state import read_state

    tasks = [Task(name, file, out / name) for name, file in command.inputs.items()]
    return [task for task in tasks if (state := read_state(task.folder)) is not None and state.state == "failed"]
