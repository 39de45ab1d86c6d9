"""``histoproto report``: one self-contained page about a run."""

import json as json_text
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from histoproto.commands.next_step import say_next


def report(run: Path, /, *, out: Path | None = None, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Write one HTML page about a run: figures, examples, curves, data and where it all came from.

    The page holds its pictures, needs no network and can be sent by mail. What has not been made yet (evaluation,
    prototype maps, slides) is named with the command that makes it.

    Args:
        run: Run folder.
        out: Where to write the page; report.html in the run folder if not given.
        json: Print the path of the page and the leading figures as JSON.
    """
    from histoproto.atomic import write_text
    from histoproto.reports.page import render
    from histoproto.reports.reading import read_run
    from histoproto.reports.wording import honest_result, summary

    contents = read_run(run)
    target = out or run / "report.html"
    write_text(target, render(contents))
    if json:
        miou = honest_result(contents).get("miou")
        sys.stdout.write(json_text.dumps({"report": str(target), "miou": miou, "summary": summary(contents)}) + "\n")
        return
    following = "open it in a browser" if contents.evaluation else f"histoproto evaluate {run} --split test"
    sys.stdout.write(f"{target} written.\n")
    say_next(following)
