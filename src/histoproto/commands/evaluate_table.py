"""What ``histoproto evaluate`` shows on the terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def show_figures(metrics: dict[str, Any]) -> None:
    """Print the table over gates and background rules, and the figure without test-time augmentation."""
    extra = [key for key in _any_figures(metrics) if key.startswith("miou[")]
    caption = "oracle uses the true mask: an upper bound, never a result"
    if extra:
        caption = f"mean*: over {extra[0][5:-1].replace(',', ', ')}; {caption}"
    title = Text(f"{metrics['split']}: IoU, and Dice and boundary IoU (2 %)")
    table = Table(title=title, caption=Text(caption), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    lead = extra[0] if extra else "miou"
    for column in (
        "gate",
        "background",
        "mean",
        *(["mean*"] if extra else []),
        "95 %",
        *metrics["classes"],
        "Dice",
        "bIoU",
    ):
        table.add_column(Text(column), justify="left" if column in ("gate", "background") else "right", no_wrap=True)
    for gate, rules in metrics["results"].items():
        for rule, figures in rules.items():
            per_class = [_figure(figures["per_class"][name]["iou"]) for name in metrics["classes"]]
            means = [_figure(figures[key]) for key in ("miou", *extra)]
            tail = [_figure(figures[key]) for key in ("dice", "biou_0.02")]
            style = "bold" if (gate, rule) == ("predicted", "ignored") else "dim" if gate == "oracle" else ""
            table.add_row(gate, rule, *means, _ends(figures["interval"].get(lead)), *per_class, *tail, style=style)
    console = Console()
    console.print(table)
    uncertainty = metrics["uncertainty"]
    console.print(
        f"95 %: interval of {'mean*' if extra else 'mean'} from {uncertainty['number']} {uncertainty['resampled']}",
        highlight=False,
    )
    for variant, gates in metrics["variants"].items():
        for gate in [gate for gate in gates if gate == "predicted"]:
            console.print(f"{variant}: {gate} gate, background ignored {_figure(gates[gate]['ignored'][lead])}")


def show_comparison(comparison: dict[str, Any]) -> None:
    """Print the arms, the tests between them, and what they mean."""
    table = Table(
        title=Text(f"Mean IoU over {', '.join(comparison['classes'])}, on the same {comparison['groups']} groups"),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in (
        "method",
        "seeds",
        "mean",
        "95 % (groups)",
        "95 % (seeds)",
        "difference",
        "95 %",
        "p (images)",
        "p (seeds)",
    ):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    rows = {row["other"]: row for row in comparison["differences"]}
    for arm in comparison["arms"]:
        row = rows.get(arm["name"])
        tested = ["", "", "", ""] if row is None else _tested(row)
        ends = [_ends(arm["interval"]), _ends(arm["interval_over_seeds"])]
        table.add_row(arm["name"], str(len(arm["by_run"])), _figure(arm["miou"]), *ends, *tested)
    console = Console()
    console.print(table)
    for row in comparison["differences"]:
        console.print(row["verdict"], soft_wrap=True, highlight=False, markup=False)


def _tested(row: dict[str, Any]) -> list[str]:
    p_values = ["n/a" if row[key] is None else f"{row[key]:.3g}" for key in ("p_images_holm", "p_seeds_holm")]
    return [f"{row['difference']:+.3f}", _ends(row["interval"]), *p_values]


def _any_figures(metrics: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = next(iter(next(iter(metrics["results"].values())).values()))
    return figures


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _ends(ends: list[float] | None) -> str:
    return "n/a" if ends is None else f"{ends[0]:.3f}-{ends[1]:.3f}"
