"""The command line: lazy verbs, one-line errors, exit codes.

Exit codes: 0 done, 1 bug (traceback), 2 user or data error (one line), 3 partly done,
130 interrupted.
"""

import sys
from collections.abc import Sequence

import cyclopts

from histoproto import __version__
from histoproto.commands.bank import bank
from histoproto.commands.data_check import data_check
from histoproto.commands.data_import import data_import
from histoproto.commands.data_phantom import data_phantom
from histoproto.commands.demo import demo
from histoproto.commands.doctor import doctor
from histoproto.commands.evaluate import evaluate
from histoproto.commands.explain import explain
from histoproto.commands.export import export
from histoproto.commands.make_masks import masks
from histoproto.commands.patches import patches
from histoproto.commands.predict import predict
from histoproto.commands.report import report
from histoproto.commands.segment import segment
from histoproto.commands.slides_retry import slides_retry
from histoproto.commands.slides_status import slides_status
from histoproto.commands.slides_tissue import slides_tissue
from histoproto.commands.sweep import sweep
from histoproto.commands.train import train
from histoproto.commands.zeroshot import zeroshot
from histoproto.errors import HistoprotoError
from histoproto.heap import keep_freed_memory

OUT_OF_MEMORY = "OutOfMemoryError"
"""Torch's exception, by name: a command that needs no torch does not wait for it."""
GPU_IS_FULL = (
    "the GPU's memory is full; train with a lower --batch or training.precision bf16, predict with --precision bf16 or "
    "a lower inference.tile_px in the run's config.yaml, or put CUDA_VISIBLE_DEVICES= before the command to compute on "
    "the CPU"
)

app = cyclopts.App(
    name="histoproto",
    version=__version__,
    help="From tissue labels on patches to a tissue map of the slide.\n\n"
    "See the whole road with histoproto demo; begin with your own patches at histoproto data import --help.",
    result_action="return_value",
)
data = cyclopts.App(name="data", help="Import, check and make data.")
app.command(data)
slides = cyclopts.App(name="slides", help="Prepare whole slides; see how far their prediction is.")
app.command(slides)

# Each verb's module imports what is heavy only when it is called, so that help never waits for torch.
for verb in (
    doctor,
    demo,
    patches,
    zeroshot,
    bank,
    train,
    masks,
    segment,
    evaluate,
    explain,
    predict,
    report,
    export,
    sweep,
):
    app.command(verb)
data.command(data_import, name="import")
data.command(data_check, name="check")
data.command(data_phantom, name="phantom")
slides.command(slides_tissue, name="tissue")
slides.command(slides_status, name="status")
slides.command(slides_retry, name="retry")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code.

    Args:
        arguments: the command line without the program's name; None reads it from the process.
    """
    keep_freed_memory()
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except HistoprotoError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted; nothing that was finished is lost", file=sys.stderr)
        sys.exit(130)
    except cyclopts.CycloptsError as error:
        print(f"UsageError: {error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        if type(error).__name__ != OUT_OF_MEMORY:
            raise
        print(f"{OUT_OF_MEMORY}: {GPU_IS_FULL} ({str(error).split('. ')[0]})", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
