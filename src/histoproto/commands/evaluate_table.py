"""What ``histoproto evaluate`` shows on the terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from histoproto.reports.lead import variant_words


def show_figures(metrics: dict[str, Any]) -> None:
    """Print the table over gates and background rules, its interval, and what test-time augmentation changes."""
    lead_gate = "predicted" if "predicted" in metrics["results"] else next(iter(metrics["results"]))
    leading = metrics["results"][lead_gate]["ignored"]
    extra = [key for key in leading if key.startswith("miou[")]
    lead = extra[0] if extra else "miou"
    caption = f"mean*: over {lead[5:-1].replace(',', ', ')}" if extra else ""
    if "oracle" in metrics["results"]:
        caption += f"{'; ' if caption else ''}oracle uses the true mask, so it is never a result"
    title = Text(f"{metrics['split']}: IoU, and Dice and boundary IoU (2 %)")
    table = Table(title=title, caption=Text(caption), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("gate", "background", "mean", *(["mean*"] if extra else []), *metrics["classes"], "Dice", "bIoU"):
        table.add_column(Text(column), justify="left" if column in ("gate", "background") else "right", no_wrap=True)
    for gate, rules in metrics["results"].items():
        for rule, figures in rules.items():
            per_class = [_figure(figures["per_class"][name]["iou"]) for name in metrics["classes"]]
            averages = [_figure(figures[key]) for key in ("miou", *extra)]
            tail = [_figure(figures[key]) for key in ("dice", "biou_0.02")]
            style = "bold" if (gate, rule) == (lead_gate, "ignored") else "dim" if gate == "oracle" else ""
            table.add_row(gate, rule, *averages, *per_class, *tail, style=style)
    console = Console()
    console.print(table)
    for sentence in _sentences(metrics, lead_gate, lead):
        console.print(sentence, soft_wrap=True, highlight=False, markup=False)


def _sentences(metrics: dict[str, Any], gate: str, lead: str) -> list[str]:
    """Return what stands below the table about its leading row."""
    leading, uncertainty = metrics["results"][gate]["ignored"], metrics["uncertainty"]
    ends = leading["interval"].get(lead)
    name = "mean" if lead == "miou" else "mean*"
    sample = f"{uncertainty['number']} {uncertainty['resampled']}"
    first = f"{gate}, ignored: {name} {_figure(leading[lead])}"
    reach = f", 95 % interval {_ends(ends)} from {sample}" if ends else f"; no interval from only {sample}"
    alone = [
        f"{variant_words(variant, metrics).title}: {_figure(gates[gate]['ignored'][lead])}"
        for variant, gates in metrics["variants"].items()
    ]
    return [first + reach, *alone]


def show_comparison(comparison: dict[str, Any]) -> None:
    """Print the arms, the tests between them, and what they mean."""
    table = Table(
        title=Text(f"Mean IoU over {', '.join(comparison['classes'])}, on the same {comparison['groups']} slides"),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("method", "seeds", "mean", "95 % over slides", "95 % over seeds"):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for arm in comparison["arms"]:
        ends = [_ends(arm["interval"]), _ends(arm["interval_over_seeds"])]
        table.add_row(arm["name"], str(len(arm["by_run"])), _figure(arm["miou"]), *ends)
    console = Console()
    console.print(table)
    for caution in comparison["cautions"]:
        console.print(f"Caution: {caution}", soft_wrap=True, highlight=False, markup=False)
    for row in comparison["differences"]:
        console.print(row["verdict"], soft_wrap=True, highlight=False, markup=False)


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _ends(ends: list[float] | None) -> str:
    return "n/a" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
