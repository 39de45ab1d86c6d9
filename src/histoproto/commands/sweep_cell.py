"""What a process of ``histoproto sweep`` does: the steps of one job, their output in its log."""

import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from histoproto.commands.child_process import follow_command
from histoproto.errors import HistoprotoError
from histoproto.heap import keep_freed_memory

if TYPE_CHECKING:
    from histoproto.sweeps.steps import Job, Step

FAILED, INTERRUPTED = 2, 130


def work(job: "Job", threads: int) -> None:
    """Make what is missing of a job, and end the process with the exit code of the first step that fails.

    The traceback of a bug goes to the log as well, and the exit code is 1.

    Args:
        job: its steps.
        threads: of torch.
    """
    keep_freed_memory()
    follow_command()  # training saves what it has, however long that takes
    try:
        with _logged(job.log):
            code = _all(job, threads)
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _all(job: "Job", threads: int) -> int:
    import torch

    from histoproto.commands.next_step import without_next_steps
    from histoproto.sweeps.steps import is_done

    torch.set_num_threads(threads)
    try:
        with without_next_steps():
            for step in job.steps:
                if not is_done(step) and (code := _one(step)):
                    return code
    except HistoprotoError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing that was finished is lost\n")
        return INTERRUPTED
    return 0


def _one(step: "Step") -> int:
    """Run one command in this process; a half-made bank is made again, a half-trained run goes on."""
    from histoproto.commands.bank import bank
    from histoproto.commands.data_phantom import data_phantom
    from histoproto.commands.evaluate import evaluate
    from histoproto.commands.train import train
    from histoproto.commands.zeroshot import zeroshot
    from histoproto.sweeps.steps import begun, command_line

    if begun(step):
        step = step._replace(arguments=(), options={"resume": step.product.parent})
    sys.argv = command_line(step)  # the run's record names the command that would have made it
    sys.stdout.write(f"$ {shlex.join(sys.argv)}\n")
    sys.stdout.flush()
    if step.verb == "train":
        return train(*step.arguments, **step.options)
    if step.verb == "bank":
        with _alone(Path(step.arguments[0])):
            bank(*step.arguments, **step.options)
    elif step.verb == "evaluate":
        evaluate(*step.arguments, **step.options)
    elif step.verb == "zeroshot":
        zeroshot(*step.arguments, **step.options)
    else:
        data_phantom(*step.arguments, **step.options)
    return 0


@contextmanager
def _alone(study: Path) -> Iterator[None]:
    """Let one process at a time look at a study's patches: the next finds their features kept."""
    folder = study / "features"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _logged(log: Path) -> Iterator[None]:
    """Send all output, also that of libraries below Python, to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as handle:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(handle.fileno(), stream.fileno())
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
