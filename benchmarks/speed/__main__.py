"""Time histoproto beside a plain way of computing the same, and keep the figures as JSON.

All of it takes under ten minutes on two cores. Each row is measured in a process of its own: so is its memory.
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from benchmarks.speed.processes import in_own_process
from benchmarks.speed.tables import against, as_table
from rich.console import Console

SIDE_BY_SIDE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    f"step {method} {preset}": (
        "step",
        {"method": method, "preset": preset, "warmups": 0, "repeats": 1},
        {"method": method, "preset": preset},
    )
    for method in ("pbip", "lpd")
    for preset in ("corrected", "released")
} | {name: (name, {}, {}) for name in ("evaluation", "refinement", "slide", "bank")}
"""Rows with a plain way beside them: the case, and options of either. A plain step takes long, so it is taken once."""

ALONE: dict[str, tuple[str, dict[str, Any]]] = {
    f"step lpd {preset}, 10 prototypes": (
        "step",
        {
            "way": "ours",
            "method": "lpd",
            "preset": preset,
            "prototypes": 10,
            "warmups": 0,
            "repeats": 1,
            "checked": False,
        },
    )
    for preset in ("corrected", "released")
} | {"slide, compiled": ("slide", {"way": "ours", "compiled": True}), "loading": ("loading", {})}
"""Rows whose plain way does not fit, stands above already, or does not differ."""


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    cases = sorted({case for case, *_ in (*SIDE_BY_SIDE.values(), *ALONE.values())})
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="figures; default bench.json")
    parser.add_argument("--against", type=Path, metavar="FILE", help="figures of an earlier run, to print ratios to")
    parser.add_argument(
        "--only", nargs="+", choices=cases, metavar="NAME", help=f"of {', '.join(cases)}; all if left out"
    )
    parser.add_argument(
        "--scaling",
        type=Path,
        metavar="PNG",
        help="measure instead how a step grows with prototypes, classes, batch and side, and draw it",
    )
    options = parser.parse_args()
    if options.against and not options.against.is_file():
        parser.error(f"--against {options.against}: no such file")
    if options.against and options.against.resolve() == options.out.resolve():
        parser.error(f"--against {options.against} would be written over; give another --out")
    if options.scaling:
        from benchmarks.speed.scaling import draw_scaling  # matplotlib would count as memory of each measurement

        draw_scaling(options.device, options.scaling)
        return
    before = json.loads(options.against.read_text(encoding="utf-8")) if options.against else None
    figures = _measured(options.device, options.only)
    options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(as_table(figures))
    if before:
        sys.stdout.write(against(figures, before))
    sys.stdout.write(f"Figures are in {options.out}\n")


def _measured(device: str, only: list[str] | None) -> dict[str, Any]:
    """Return all figures, saying what is being measured."""
    console = Console(stderr=True)

    def one(label: str, case: str, **options: Any) -> dict[str, Any]:
        with console.status(f"{label} ..."):
            found = in_own_process(case, device, **options)
        console.print(f"{label}: {found['seconds']:.3g} s" if "seconds" in found else label)
        return found

    rows: dict[str, dict[str, Any]] = {}
    for name, (case, plain, ours) in SIDE_BY_SIDE.items():
        if not only or case in only:
            rows[name] = {
                "ours": one(f"{name}, ours", case, way="ours", **ours),
                "plain": one(f"{name}, plain", case, way="plain", **plain),
            }
    for name, (case, given) in ALONE.items():
        if not only or case in only:
            rows[name] = {"ours": one(name, case, **given)}
    return {
        "schema": "histoproto/speed/1",
        "device": torch.cuda.get_device_name()
        if device.startswith("cuda")
        else f"{torch.get_num_threads()} CPU threads",
        "versions": {name: version(name) for name in ("histoproto", "torch", "transformers")},
        "ceilings": one("ceilings", "ceilings"),
        "rows": rows,
    }


if __name__ == "__main__":
    main()
