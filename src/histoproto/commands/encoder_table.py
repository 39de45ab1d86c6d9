"""The table of ``histoproto doctor --encoders``. Imports no torch."""

import json as json_text
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from histoproto.commands.next_step import say_next

if TYPE_CHECKING:
    from histoproto.encoders.cards import EncoderCard

UNTRAINED = {
    "self": "moving average of the method's own backbone",
    "run:RUN": "backbone of an earlier run",
    "random": "random weights, a control",
    "none": "no encoder: the similarity loss is left out",
}
"""Encoders without weights of their own."""


def show_encoders(*, json: bool) -> int:
    """Print what is known of each encoder, without loading any."""
    from histoproto.encoders.cards import CARDS

    here = {name: _is_here(card.source) for name, card in CARDS.items()}
    if json:
        content = {name: {**asdict(card), "on_this_machine": here[name]} for name, card in CARDS.items()}
        sys.stdout.write(json_text.dumps(content, indent=2) + "\n")
        return 0
    _print(CARDS, here)
    say_next("histoproto train lpd STUDY --run RUN --encoder NAME; gated ones first need: hf auth login")
    return 0


def _print(cards: "dict[str, EncoderCard]", here: dict[str, bool]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("encoder", "input", "dim", "text", "licence of the weights", "address", "here", box=None)
    for name, meaning in UNTRAINED.items():
        table.add_row(Text(name), "any", "", "", "", Text(meaning), "")
    for name, card in cards.items():
        licence = f"{card.licence}{' (gated)' if card.gated else ''}"
        table.add_row(
            name,
            f"{card.input_px} px",
            str(card.dim),
            "yes" if card.text else "",
            Text(licence),
            Text(card.source or "a file: --encoder-weights", overflow="fold"),
            Text("yes", style="green") if here[name] else "no",
        )
    console = Console()
    console.print(table)
    console.print(
        "Also: any backbone by name with --encoder-weights FILE (mobilenet-v2, mit-b1, timm:resnet18, ...), and any "
        "model in timm's hub format as hf:organisation/name or a folder.",
        soft_wrap=True,
        highlight=False,
    )


def _is_here(source: str | None) -> bool:
    """Return whether the hub's cache on this machine holds anything of an address."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if source is None:
        return False
    name = source.removeprefix("hf:").split("@", maxsplit=1)[0]
    return any((Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots").glob("*/*"))
