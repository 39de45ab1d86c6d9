"""Tables of presets in the pages of the methods: ``python -m tests.methods.preset_tables`` writes them anew.

A table lists all settings of the method itself, and of the others those that some preset sets apart from the default.
"""

import ast
import inspect
import re
import textwrap
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path

from histoproto.contracts import MethodSettings
from histoproto.presets.registry import METHODS
from histoproto.presets.settings import RunSettings

PAGES = Path(__file__).parents[2] / "docs" / "methods"
BLOCK = re.compile(r"<!-- settings of ([\w-]+) -->\n(.*?)<!-- end of settings -->", flags=re.DOTALL)
ORDER = ("paper", "released", "corrected")
ABSENT = "–"


def table(method):
    """Return a method's settings under each of its presets as lines of a Markdown table."""
    presets = METHODS[method].presets
    names = [name for name in ORDER if name in presets]
    columns = {name: dict(plain_values(presets[name])) for name in names}
    usual = dict(plain_values(RunSettings("", "", MethodSettings())))
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    own = [row for row in rows if row.startswith("model.")]
    others = [row for row in rows if row not in own and row not in ("method", "preset")]
    apart = [row for row in others if any(column.get(row) != usual.get(row) for column in columns.values())]
    meanings = {row: meaning for preset in presets.values() for row, meaning in plain_meanings(preset)}
    head = [f"| setting | meaning | {' | '.join(f'`{name}`' for name in names)} |", "|---" * (2 + len(names)) + "|"]
    return "\n".join(
        head
        + [
            f"| `{row}` | {meanings[row]} | {' | '.join(columns[name].get(row, ABSENT) for name in names)} |"
            for row in own + apart
        ]
    )


def plain_values(settings, prefix=""):
    """Yield each setting's dotted name and its value as text."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from plain_values(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", as_text(value)


def as_text(value):
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(as_text(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plain_meanings(settings, prefix=""):
    """Yield each setting's dotted name and the first sentence of its docstring."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from plain_meanings(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", docstrings(type(settings)).get(field.name, "")


def docstrings(kind):
    """Return the first sentence below each field of a dataclass, also of those that it inherits."""
    found = {}
    for parent in reversed([parent for parent in kind.__mro__ if is_dataclass(parent)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(parent))).body[0].body
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                sentence = re.split(r";\s|\.\s(?=[A-Z])", " ".join(text.value.value.split()))[0]
                found[field.target.id] = sentence.rstrip(".;").replace("|", "\\|").replace("``", "`")
    return found


def renewed(page):
    """Return a page's text with its tables made anew."""
    return BLOCK.sub(
        lambda found: f"<!-- settings of {found[1]} -->\n{table(found[1])}\n<!-- end of settings -->", page.read_text()
    )


if __name__ == "__main__":
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(renewed(page))
