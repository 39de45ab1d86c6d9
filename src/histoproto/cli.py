"""The command line: lazy verbs, one-line errors, exit codes.

Exit codes: 0 done, 1 bug (traceback), 2 user or data error (one line), 3 partly done.
"""

import sys
from collections.abc import Sequence

import cyclopts

from histoproto import __version__
from histoproto.errors import HistoprotoError

app = cyclopts.App(
    name="histoproto",
    version=__version__,
    help="From tissue labels on patches to a tissue map of the slide.",
    help_epilogue="Start with `histoproto demo`, or with your own patches: `histoproto data import --help`.",
    result_action="return_value",
)
data = cyclopts.App(name="data", help="Import, check and make data.")
app.command(data)

COMMANDS = {
    "doctor": "doctor:doctor",
    "demo": "demo:demo",
    "train": "train:train",
    "masks": "make_masks:masks",
    "evaluate": "evaluate:evaluate",
    "predict": "predict:predict",
    "report": "report:report",
}
DATA_COMMANDS = {
    "import": "data_import:data_import",
    "check": "data_check:data_check",
    "phantom": "data_phantom:data_phantom",
}
for verb, target in COMMANDS.items():
    app.command(f"histoproto.commands.{target}", name=verb)
for verb, target in DATA_COMMANDS.items():
    data.command(f"histoproto.commands.{target}", name=verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code.

    Args:
        arguments: the command line without the program's name; None reads it from the process.
    """
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except HistoprotoError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except cyclopts.CycloptsError as error:
        print(f"UsageError: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
