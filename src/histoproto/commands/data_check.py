"""``histoproto data check``: find what is wrong with a study before training does."""

import json as json_text
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from histoproto.commands.next_step import say_next

if TYPE_CHECKING:
    from rich.console import Console

    from histoproto.data.checks import Problem

COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def data_check(study: Path, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Look at every file of a study and print one table of problems; exit code 2 if there are errors.

    Found are: missing, unreadable, 16-bit and transparent images; sizes that differ; labels that do not fit the
    taxonomy or name no class; masks that are missing, have unknown values or another size than their image; the
    same source or the same pixels in two splits; classes without example; files changed since the import.

    Args:
        study: Folder made by data import.
        json: Print the problems, with all files, as JSON.
    """
    from rich.console import Console

    from histoproto.data.checks import check_study
    from histoproto.data.manifest import read_study
    from histoproto.progress import progress_bar

    known = read_study(study)
    with progress_bar("Checking patches", len(known.table)) as advance:
        problems = check_study(known, advance)
    counts = Counter[str](problem.severity for problem in problems)
    console = Console()
    if json:
        content = {
            "study": str(study),
            "patches": len(known.table),
            "problems": [asdict(problem) for problem in problems],
        }
        console.file.write(json_text.dumps(content, indent=2) + "\n")
        return 2 if counts["error"] else 0
    if problems:
        _print_table(problems, console)
    found = ", ".join(f"{counts[name]} {name}{'s' if counts[name] != 1 else ''}" for name in COLOURS if counts[name])
    verdict = f"{len(known.table)} patches checked: {found or 'nothing to complain about'}."
    following = (
        f"mend the errors, then histoproto data check {study}"
        if counts["error"]
        else f"histoproto train lpd {study} --run runs/lpd"
    )
    console.print(verdict, soft_wrap=True, markup=False, highlight=False)
    say_next(following)
    return 2 if counts["error"] else 0


def _print_table(problems: "list[Problem]", console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("")
    for column in ("problem", "file", "fix"):
        table.add_column(column, overflow="fold")
    for problem in problems:
        others = len(problem.files) - 1
        file = problem.files[0] if problem.files else "-"
        more = f"\n(and {others} more)" if others > 0 else ""
        table.add_row(
            Text(problem.severity, style=COLOURS[problem.severity]),
            Text(problem.what),
            Text(file + more),
            Text(problem.fix),
        )
    console.print(table)
