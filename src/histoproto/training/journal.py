"""What a run tells about itself while it trains: metrics.csv, TensorBoard and the progress bar."""

import csv
import io
from collections.abc import Mapping, Sequence
from types import TracebackType

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from histoproto.atomic import write_text
from histoproto.progress import make_progress
from histoproto.runs import RunFolder


class Journal:
    """Writes for the leader; in every other process it does nothing."""

    def __init__(self, run: RunFolder, *, leader: bool, step: int, total_steps: int) -> None:
        """Begin at ``step``; what TensorBoard holds from later steps of a killed sitting is struck out."""
        self._run = run
        self._leader = leader
        self._told = step  # no epochs of an earlier sitting are told again: there are fewer epochs than steps
        if leader:
            self._board = SummaryWriter(str(run.path / "tb"), purge_step=step + 1)
            self._bars = make_progress("{task.fields[terms]}")
            self._task = self._bars.add_task("training", total=total_steps, completed=step, terms="")

    def __enter__(self) -> "Journal":
        if self._leader:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._leader:
            self._bars.stop()
            self._board.close()

    def advance(self, epoch: int, epochs: int) -> None:
        """Move the bar by one step of an epoch, counted from 1."""
        if self._leader:
            self._bars.update(self._task, advance=1, description=f"epoch {epoch}/{epochs}")

    def point(self, step: int, lr: float, terms: Mapping[str, Tensor]) -> None:
        """Show one step's terms. Waits for the device."""
        if not self._leader:
            return
        values = {name: float(value) for name, value in terms.items()}
        self._bars.update(self._task, terms="  ".join(f"{name} {value:.3f}" for name, value in values.items()))
        for name, value in {"lr": lr, **values}.items():
            self._board.add_scalar(f"step/{name}", value, step)

    def epochs(self, history: Sequence[Mapping[str, float | int]]) -> None:
        """Write the rows of all epochs so far; the file is derived from them, so it never holds a row twice."""
        if not self._leader:
            return
        if len(history) > self._told and not self._bars.console.is_terminal:
            told = [f"{name} {value:.4g}" for name, value in history[-1].items() if name not in ("step", "lr")]
            self._bars.console.print("  ".join(told), soft_wrap=True, highlight=False)  # a log file shows no bar
        self._told = len(history)
        columns = list(dict.fromkeys(column for row in history for column in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(history)
        write_text(self._run.metrics_file, text.getvalue())
        if history:
            for name, value in history[-1].items():
                self._board.add_scalar(f"epoch/{name}", value, int(history[-1]["step"]))
