"""Figures of speed as text."""

from typing import Any


def as_table(figures: dict[str, Any]) -> str:
    """Return one line per row: both ways, their ratio, and how near ours is to the machine's ceiling."""
    ceilings = figures["ceilings"]
    lines = [
        f"{figures['device']}: matrix products {ceilings['tflop_per_s']['fp32']:.3g} TFLOP/s in fp32, "
        f"{ceilings['tflop_per_s']['bf16']:.3g} in bf16; memory {ceilings['gib_per_s']:.3g} GiB/s",
        "",
        "| | plain, s | ours, s | times faster | plain, GiB | ours, GiB | TFLOP | GiB moved | of the ceiling |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in figures["rows"].items():
        ours, plain = row["ours"], row.get("plain")
        ratio = f"{plain['seconds'] / ours['seconds']:.1f}" if plain else ""
        cells = [
            name,
            _number(plain and plain["seconds"]),
            _number(ours["seconds"]),
            ratio,
            _number(plain and plain["peak_gib"]),
            _number(ours["peak_gib"]),
            _number(ours["tflop"]),
            _number(ours["traffic_gib"]),
            _share(ours, ceilings),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    checks = [_agreement(name, row) for name, row in figures["rows"].items()]
    return "\n".join([*lines, "", *(check for check in checks if check), ""])


def against(figures: dict[str, Any], before: dict[str, Any]) -> str:
    """Return how each row's time and memory compare with those of an earlier run."""
    other = [name for name in ("device", "versions") if figures.get(name) != before.get(name)]
    lines = [f"Note: {name} was {before.get(name)}, now {figures.get(name)}" for name in other]
    lines += ["", "| against before | time | memory |", "|---|---|---|"]
    for name, row in figures["rows"].items():
        if name in before["rows"]:
            now, then = row["ours"], before["rows"][name]["ours"]
            time, memory = now["seconds"] / then["seconds"], now["peak_gib"] / then["peak_gib"]
            lines.append(f"| {name} | x {time:.2f} | x {memory:.2f} |")
    return "\n".join([*lines, ""])


def _share(ours: dict[str, Any], ceilings: dict[str, Any]) -> str:
    """Return the rate of matrix products and convolutions over the rate of matrix products in bf16."""
    if not ours["tflop"]:
        return ""
    return f"{ours['tflop'] / ours['seconds'] / ceilings['tflop_per_s']['bf16']:.0%}"


def _agreement(name: str, row: dict[str, Any]) -> str:
    """Return how well both ways agree."""
    ours, plain = row["ours"], row.get("plain")
    if "argmax_agreement" in ours:
        return f"{name}: strongest class maps agree on {ours['argmax_agreement']:.2%} of pixels"
    if not plain or "first_loss" not in ours:
        return ""
    loss, exact, given = plain["first_loss"], ours["first_loss_fp32"], ours["first_loss"]
    return (
        f"{name}: loss {loss:.6f} plain, {exact:.6f} ours in fp32 ({abs(exact / loss - 1):.1e}), {given:.6f} in bf16 "
        f"({abs(given / loss - 1):.1e})"
    )


def _number(value: float | None) -> str:
    return f"{value:.3g}" if value else ""
