"""``histoproto slides status``."""

import json as json_text
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from histoproto.commands.next_step import say_next

ORDER = ("done", "running", "waiting", "failed")


def slides_status(out: Path, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Tell which inputs of histoproto predict are done, running, waiting or failed, and why.

    Running is what a process has locked; from other machines this can be seen where the file system shares locks.

    Args:
        out: The folder given to histoproto predict --out.
        json: Print the states as JSON.

    Returns:
        0.

    Raises:
        RunError: if the folder is not one of histoproto predict.
    """
    rows = _rows(out)
    counts = {state: Counter(row["state"] for row in rows)[state] for state in ORDER}
    if json:
        sys.stdout.write(json_text.dumps({"counts": counts, "inputs": rows}, indent=2) + "\n")
        return 0
    _show(out, rows, counts)
    if counts["waiting"]:
        say_next("the same histoproto predict again, unless it is running; it skips what is done and retries failures")
    elif counts["failed"]:
        say_next(f"histoproto slides retry {out}")
    else:
        say_next(f"look at {out}/*/overlay.png")
    return 0


def _rows(out: Path) -> list[dict[str, Any]]:
    """Return what is known of each input, failures last."""
    from histoproto.commands.predict_record import read_commands

    inputs = {name: file for command in read_commands(out) for name, file in command.inputs.items()}
    rows = [_row(out / name, file) for name, file in sorted(inputs.items())]
    return sorted(rows, key=lambda row: ORDER.index(row["state"]))


def _row(folder: Path, file: Path) -> dict[str, Any]:
    from histoproto.commands.slide_state import is_locked, read_state

    row: dict[str, Any] = {"name": folder.name, "input": str(file), "state": "waiting"}
    if is_locked(folder):
        return row | {"state": "running"}
    state = read_state(folder)
    if state is None:
        return row
    known = {"state": state.state, "started": state.started, "seconds": state.seconds, "host": state.host}
    return row | known | ({"error": state.error} if state.error else {})


def _show(out: Path, rows: list[dict[str, Any]], counts: dict[str, int]) -> None:
    from rich.table import Table
    from rich.text import Text

    from histoproto.commands.predict_table import print_table

    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    table = Table(title=Text(f"{out}: {said}"))
    for column in ("input", "state", "seconds", "host", "because"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for row in rows:
        seconds = f"{row['seconds']:.1f}" if "seconds" in row else ""
        texts = (row["name"], row["state"], seconds, row.get("host", ""), row.get("error", ""))
        table.add_row(*(Text(text, overflow="fold") for text in texts))
    print_table(table)
