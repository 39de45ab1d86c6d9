"""The last line of every command: the next sensible one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_silent: ContextVar[bool] = ContextVar("silent", default=False)


def say_next(following: str) -> None:
    """Print the next sensible command, unless a command of several steps goes on by itself."""
    from rich.console import Console

    if not _silent.get():
        Console().print(f"Next: {following}", soft_wrap=True, markup=False, highlight=False)


@contextmanager
def without_next_steps() -> Iterator[None]:
    """Keep the commands called inside from naming the next one."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)
