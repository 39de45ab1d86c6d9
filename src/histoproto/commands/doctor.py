"""``histoproto doctor``: what this machine has and what it lacks."""

import json as json_text
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from histoproto.commands.encoder_table import show_encoders
from histoproto.commands.next_step import say_next

State = Literal["ok", "note", "missing"]
STYLES: dict[State, str] = {"ok": "green", "note": "yellow", "missing": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing looked for."""

    state: State
    thing: str
    found: str
    advice: str = ""


def doctor(
    *,
    encoders: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show Python, packages, GPU, slide readers, disk and weights cache; exit code 2 if something needed is missing.

    Args:
        encoders: Show instead the frozen encoders that --encoder knows: input, length of the vector, text tower,
            licence, address, and whether the weights are on this machine.
        json: Print the findings as JSON.
    """
    if encoders:
        return show_encoders(json=json)
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    findings = examine()
    missing = any(finding.state == "missing" for finding in findings)
    console = Console()
    if json:
        content = {"ok": not missing, "findings": [asdict(finding) for finding in findings]}
        console.file.write(json_text.dumps(content, indent=2) + "\n")
        return 2 if missing else 0
    table = Table("", "what", "found", "advice")
    for finding in findings:
        table.add_row(
            Text(finding.state, style=STYLES[finding.state]),
            Text(finding.thing),
            Text(finding.found, overflow="fold"),
            Text(finding.advice),
        )
    console.print(table)
    say_next("install what is missing, then histoproto doctor" if missing else "histoproto demo --out demo")
    return 2 if missing else 0


def examine() -> list[Finding]:
    """Look at this machine without importing torch."""
    return [_python(), *_packages(), _gpu(), *_readers(), _disk(), _weights_cache()]


def _python() -> Finding:
    import platform

    where = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("ok", "Python", where)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _packages() -> list[Finding]:
    import re
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("histoproto") or []
    except PackageNotFoundError:
        return [Finding("missing", "histoproto", "not installed", "pip install -e .")]
    needed = [re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0] for line in lines if "extra ==" not in line]
    absent = [name for name in needed if _version(name) is None]
    packages = (
        Finding("missing", "packages", f"without {', '.join(absent)}", f"pip install {' '.join(absent)}")
        if absent
        else Finding("ok", "packages", f"all {len(needed)} needed ones")
    )
    torch = _version("torch")
    if torch is None:
        return [packages, Finding("missing", "torch", "not installed", "pip install torch torchvision")]
    return [packages, Finding("ok", "torch", torch)]


def _gpu() -> Finding:
    import shutil
    import subprocess

    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding("note", "GPU", "no NVIDIA driver", "the demo runs without; training on own data is slow")
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("note", "GPU", f"nvidia-smi failed ({error})", "look at the driver")
    names = "; ".join(line.strip() for line in answer.stdout.splitlines() if line.strip())
    if not names:
        return Finding("note", "GPU", "none", "the demo runs without; training on own data is slow")
    if (_version("torch") or "").endswith("+cpu"):
        return Finding("note", "GPU", names, "this torch is the CPU build; install one with CUDA")
    return Finding("ok", "GPU", names)


def _readers() -> list[Finding]:
    tifffile, openslide = _version("tifffile"), _version("openslide-python")
    return [
        Finding("ok", "TIFF reader", f"tifffile {tifffile}")
        if tifffile
        else Finding("missing", "TIFF reader", "no tifffile", "pip install tifffile imagecodecs"),
        Finding("ok", "slide reader", f"openslide-python {openslide}")
        if openslide
        else Finding(
            "note", "slide reader", "no openslide; TIFF only", "for SVS, NDPI, MRXS: pip install 'histoproto[wsi]'"
        ),
    ]


def _disk() -> Finding:
    import shutil
    from pathlib import Path

    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    found = f"{free_gb:.0f} GB free in {Path.cwd()}"
    return Finding("ok", "disk", found) if free_gb >= 5 else Finding("note", "disk", found, "make room for runs")


def _weights_cache() -> Finding:
    from pathlib import Path

    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    models = sorted(path.name.removeprefix("models--").replace("--", "/") for path in folder.glob("models--*"))
    if not models:
        return Finding("note", "weights", f"none cached in {folder}", "downloaded on first use; the demo needs none")
    return Finding("ok", "weights", f"{', '.join(models)} in {folder}")
