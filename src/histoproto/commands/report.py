"""``histoproto report``: one self-contained page about a run, and its figures and tables as files."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from histoproto.commands.next_step import say_next

if TYPE_CHECKING:
    from histoproto.reports.reading import RunContents


def report(
    run: Path,
    /,
    *,
    compare: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    published: str | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write one HTML page about a run: figures, examples, curves, data and where it all came from.

    The page holds its pictures, needs no network and can be sent by mail. What has not been made yet (evaluation,
    prototype maps, slides) is named with the command that makes it.

    Example: histoproto report runs/lpd-0 --compare runs/lpd-1 runs/cam-0 runs/cam-1 adds box plots over seeds, tests in
    words, and the masks of both methods on the same patches; runs named alike up to a number are seeds of one method.

    Writes report.html, and beside it every figure as SVG and PNG and every table as CSV into report/ in the run folder.

    Args:
        run: Run folder.
        compare: Evaluated runs to put beside this one, on the same images.
        published: Put published figures on this data set beside ours: bcss-wsss, luad-histoseg, bcss or gcss.
        out: Where to write the page; report.html in the run folder if not given.
        json: Print the path of the page and the leading figures as JSON.
    """
    from histoproto.atomic import write_text
    from histoproto.commands.report_inputs import gather_comparison, gather_published
    from histoproto.reports.folder import write_folder
    from histoproto.reports.lead import lead_of
    from histoproto.reports.page import compose
    from histoproto.reports.reading import read_run
    from histoproto.reports.wording import summary

    contents = read_run(run)
    comparison = gather_comparison(run, compare) if compare else None
    made = compose(contents, comparison, gather_published(published, contents.taxonomy) if published else None)
    target, folder = out or run / "report.html", run / "report"
    write_text(target, made.html)
    files = write_folder(folder, made.drawings, made.tables)
    if json:
        lead = lead_of(contents)
        content = {
            "report": str(target),
            "files": str(folder),
            "miou": lead.figures.get("miou"),
            "interval": lead.ends("miou"),
            "summary": summary(contents),
            "comparison": comparison.told if comparison else None,
        }
        sys.stdout.write(json_text.dumps(content) + "\n")
        return
    sys.stdout.write(f"{target} written; {files} figures and tables as files in {folder}.\n")
    say_next(_following(contents))


def _following(contents: "RunContents") -> str:
    if not contents.evaluation:
        return f"histoproto evaluate {contents.path} --split test"
    if contents.prototypes:
        return f"open it in a browser; what the prototypes stand for: histoproto explain {contents.path}"
    return "open it in a browser"
