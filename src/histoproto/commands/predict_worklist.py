"""Which inputs wait, which are tried again, and how they ended."""

import time
from collections import Counter, deque
from collections.abc import Iterable

from histoproto.commands.predict_task import Outcome, Task, record_death

TRIES = 2
"""Processes that may die of one input."""
LOOK_AGAIN_S = 0.5
"""Pause before an input that another process holds is asked for again."""


class Worklist:
    """The inputs of a command, given out one by one to whatever predicts them.

    Args:
        tasks: in the order in which they are begun.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._waiting = deque(tasks)
        self._held: deque[tuple[float, Task]] = deque()
        self._deaths: Counter[str] = Counter()
        self.total = len(self._waiting)
        self.ended: dict[str, Outcome] = {}
        """By name, in the order in which they ended."""

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return len(self.ended) == self.total

    def take(self) -> Task | None:
        """Return the next input; None while all that is left is at work, here or elsewhere."""
        if self._waiting:
            return self._waiting.popleft()
        if self._held and self._held[0][0] <= time.monotonic():
            return self._held.popleft()[1]
        return None

    def end(self, task: Task, outcome: Outcome) -> None:
        """Note how an input ended; one that another process holds is asked for again."""
        if outcome.kind == "held":
            self._held.append((time.monotonic() + LOOK_AGAIN_S, task))
        else:
            self.ended[task.name] = outcome

    def died(self, task: Task, reason: str) -> Outcome | None:
        """Note that a process died of an input; return its failure if it was not the first one.

        Args:
            task: what the process was at.
            reason: why it died, half a sentence.
        """
        self._deaths[task.name] += 1
        if self._deaths[task.name] < TRIES:
            self._waiting.append(task)
            return None
        outcome = record_death(task, f"{task.file}: {reason}, {TRIES} times")
        self.end(task, outcome)
        return outcome
