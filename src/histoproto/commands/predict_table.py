"""What ``histoproto predict`` says before it begins and at its end: shares of tissue, notes, failures, what is next."""

import json as json_text
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoproto.commands.next_step import say_next
from histoproto.commands.predict_task import Outcome, Task

if TYPE_CHECKING:
    from rich.table import Table

PARTLY_DONE, INTERRUPTED = 3, 130


def say_outdated(count: int, reasons: Sequence[str]) -> None:
    """Say on standard error, before anything begins, that results will be replaced; nothing if there are none.

    Args:
        count: results that will be.
        reasons: what they are of.
    """
    if count:
        results = "1 result" if count == 1 else f"{count} results"
        sys.stderr.write(f"Note: {results} of {' and '.join(reasons)}: predicted anew.\n")


def conclude(outcomes: Mapping[str, Outcome], tasks: Sequence[Task], out: Path, run: Path, *, json: bool) -> int:
    """Show how the inputs of a command ended and return its exit code.

    Args:
        outcomes: by name; fewer than tasks if the command was interrupted.
        tasks: the inputs.
        out: folder of results.
        run: what predicted them.
        json: print areas and failures as JSON instead.
    """
    done = {name: outcome.content for name, outcome in outcomes.items() if outcome.content is not None}
    failed = {
        str(task.file): outcomes[task.name].error or ""
        for task in tasks
        if task.name in outcomes and outcomes[task.name].kind == "failed"
    }
    if json:
        sys.stdout.write(json_text.dumps({"done": done, "failed": failed}, indent=2) + "\n")
    else:
        _show(done, failed, out, len(tasks))
        _say_kept(sum(outcome.kind == "kept" for outcome in outcomes.values()), out)
    if len(outcomes) < len(tasks):
        sys.stderr.write(f"Interrupted; {len(done)} of {len(tasks)} inputs are done; the same command goes on\n")
        return INTERRUPTED
    if not json:
        retry = f"histoproto slides retry {out}"
        say_next(retry if failed else f"look at {out}/*/overlay.png, or: histoproto report {run}")
    return PARTLY_DONE if failed else 0


def print_table(table: "Table") -> None:
    """Print a table, in a file or pipe with each row on one line."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    wide = Console(width=console.measure(table, options=console.options.update(max_width=100_000)).maximum)
    wide.print(table)


def _show(done: Mapping[str, dict[str, Any]], failed: Mapping[str, str], out: Path, total: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if done:
        classes = list(next(iter(done.values()))["areas"])
        table = Table(title=Text(f"{out}: share of tissue (mm2 where the size is known)"))
        for column in ("input", *classes):
            table.add_column(Text(column), justify="left" if column == "input" else "right")
        for name, content in done.items():
            cells = [_cell(content["areas"][entry]) for entry in classes]
            table.add_row(Text(name), *cells)
        print_table(table)
    for note, names in _by_note(done).items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        Console().print(f"Note: {names[0]}{others}: {note}.", soft_wrap=True, markup=False, highlight=False)
    if failed:
        table = Table("failed", "because", title=Text(f"{len(failed)} of {total} inputs failed"))
        for file, reason in failed.items():
            table.add_row(Text(file, overflow="fold"), Text(reason.removeprefix(file).lstrip(": "), overflow="fold"))
        print_table(table)


def _say_kept(count: int, out: Path) -> None:
    """Say why a command ended so soon."""
    if count:
        inputs = "1 input was" if count == 1 else f"{count} inputs were"
        sys.stdout.write(
            f"{inputs} predicted before by the same checkpoint; delete its folder in {out} to repeat it.\n"
        )


def _by_note(done: Mapping[str, dict[str, Any]]) -> dict[str, list[str]]:
    by_note: dict[str, list[str]] = {}
    for name, content in done.items():
        for note in content["notes"]:
            by_note.setdefault(note, []).append(name)
    return by_note


def _cell(area: dict[str, Any]) -> str:
    share = "-" if area["share"] is None else f"{area['share']:.1%}"
    return share if area["area_mm2"] is None else f"{share} ({area['area_mm2']:.3g})".strip()
