"""Work for other processes that needs no torch."""

import sys
import time
from pathlib import Path

from histoproto.sweeps.steps import Job, Step


def job(folder, name, verb="write"):
    """Return a job of one step, whose verb is one of those below."""
    return Job(name, folder / name, (Step(verb, (), {}, folder / name / "product"),))


def work(made, threads):
    """Write the product, fail, or wait until told to stop."""
    (step,) = made.steps
    made.folder.mkdir(parents=True)
    if step.verb == "fail":
        made.log.write_text("first line\nToyError: it does not work\n\n")
        sys.exit(2)
    if step.verb == "wait":
        Path(made.folder / "begun").touch()
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(130)
    step.product.write_text(str(threads))
