"""What ``histoproto predict`` shows while it runs: a bar over inputs, and the tiles of each worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from histoproto.commands.predict_task import Outcome

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from histoproto.progress import LogLines


class SlidesProgress:
    """Bars for a terminal; elsewhere, as in the log of a job, a line per input, and more of them for long ones.

    Args:
        bars: shown, or disabled where there is no terminal.
        total: number of inputs.
    """

    def __init__(self, bars: "Progress", total: int) -> None:
        self._bars = bars
        self._total = total
        self._ended = 0
        self._all = bars.add_task("Inputs", total=total, visible=total > 1)
        self._lines: dict[int, TaskID] = {}
        self._log: dict[int, LogLines] = {}

    def begin(self, place: int, name: str) -> None:
        """Show an input on the line of whoever predicts it."""
        from histoproto.progress import LogLines

        if place not in self._lines:
            self._lines[place] = self._bars.add_task(name, total=None)
        self._bars.reset(self._lines[place], description=name, total=None, visible=True)
        self._log[place] = LogLines(f"Tiles of {name}")

    def tiles(self, place: int, done: int, total: int) -> None:
        """Show how far the input of a line is."""
        self._bars.update(self._lines[place], completed=done, total=total)
        if self._bars.disable:
            self._log[place].reach(done, total)

    def end(self, place: int, name: str, outcome: Outcome) -> None:
        """Show that an input has ended; one that another process holds has not."""
        self._bars.update(self._lines[place], visible=False)
        if outcome.kind != "held":
            self._ended += 1
            self._bars.update(self._all, completed=self._ended)
            how = "was done before" if outcome.kind == "kept" else f"{outcome.kind} in {outcome.seconds:.1f} s"
            self._say(f"{self._ended}/{self._total} {name}: {how}")

    def lose(self, place: int, name: str, reason: str) -> None:
        """Show that an input lost its process."""
        self._bars.update(self._lines[place], visible=False)
        self._say(f"{name}: {reason}")

    def _say(self, line: str) -> None:
        from rich.console import Console

        if self._bars.disable and self._total > 1:
            Console(stderr=True).print(line, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def slides_progress(total: int) -> Iterator[SlidesProgress]:
    """Show the progress of so many inputs while the block runs."""
    from histoproto.progress import make_progress

    with make_progress() as bars:
        yield SlidesProgress(bars, total)
