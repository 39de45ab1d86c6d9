"""From a cell and a seed to the commands that make it, each known as done by what it left behind."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from histoproto.atomic import write_text
from histoproto.runs import RunFolder
from histoproto.sweeps.cells import HELPER, Cell
from histoproto.taxonomy import Taxonomy

SETTINGS, PROMPTS, LOG = "settings.yaml", "prompts.yaml", "log.txt"


class Step(NamedTuple):
    """One command: a verb of the command line with its arguments."""

    verb: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    product: Path
    """The file that it leaves when it is done."""


class Job(NamedTuple):
    """Steps that one process makes one after the other."""

    name: str
    folder: Path
    steps: tuple[Step, ...]
    epochs: int = 0
    """Epochs of its training, for the progress bar."""

    @property
    def log(self) -> Path:
        """What its commands printed."""
        return self.folder / LOG

    @property
    def done(self) -> bool:
        """Whether all its products are there."""
        return all(is_done(step) for step in self.steps)

    @property
    def units(self) -> int:
        """Length of the job on the progress bar: an epoch is one, any other step too."""
        return self.epochs + sum(step.verb != "train" for step in self.steps)

    @property
    def units_done(self) -> int:
        """How much of it is done, by what lies on disk."""
        return sum(_units_done(step, self.epochs) for step in self.steps)


def cell_job(cell: Cell, seed: int, study: Path, folder: Path, helper: Path, split: str) -> Job:
    """Return what a cell needs with one seed.

    Args:
        cell: what to do.
        seed: of training and bank.
        study: the study.
        folder: run folder of the cell.
        helper: run folder of the helper.
        split: split to evaluate.
    """
    cell = _with_helper(cell, helper)
    steps: list[Step] = []
    if cell.bank is not None:
        steps.append(_bank(cell.bank, seed, study, folder / "bank"))
    bank = folder / "bank" if cell.bank is not None else None
    if cell.zeroshot is not None:
        steps.append(_zeroshot(cell, study, folder, bank, split))
        return Job(cell.name, folder, tuple(steps))
    run = RunFolder(folder)
    options = {"run": folder, "preset": cell.preset, "seed": seed, "settings": folder / SETTINGS, "bank": bank}
    steps.append(Step("train", (cell.method, study), options, run.record_file))
    steps.append(Step("evaluate", (folder,), {"split": split}, folder / "eval" / "metrics.json"))
    return Job(f"{cell.name}, seed {seed}", folder, tuple(steps), cell.run_settings(cell.name).training.epochs)


def helper_job(cell: Cell, seed: int, study: Path, folder: Path) -> Job:
    """Return the training of the helper, whose masks nobody asks for."""
    job = cell_job(cell, seed, study, folder, folder, "")
    return job._replace(name=HELPER, steps=job.steps[:-1])


def write_inputs(cell: Cell, folder: Path, helper: Path, taxonomy: Taxonomy) -> None:
    """Write the files that the cell's commands read: its settings, or its sentences."""
    cell = _with_helper(cell, helper)
    if cell.zeroshot is None:
        write_text(folder / SETTINGS, yaml.safe_dump(cell.settings, sort_keys=False))
    elif cell.asking.sentence is not None:
        titles = zip(taxonomy.classes, taxonomy.titles, strict=True)
        sentences = {name: [cell.asking.sentence.format(title=title.lower())] for name, title in titles}
        write_text(folder / PROMPTS, yaml.safe_dump(sentences, sort_keys=False))


def is_done(step: Step) -> bool:
    """Return whether a step's product is there; a run is trained when its gate is fitted."""
    if not step.product.is_file():
        return False
    return step.verb != "train" or "gate" in json.loads(step.product.read_text(encoding="utf-8"))


def begun(step: Step) -> bool:
    """Return whether a training was begun, so that it goes on with ``--resume``."""
    return step.verb == "train" and RunFolder(step.product.parent).config_file.is_file()


def command_line(step: Step) -> list[str]:
    """Return the step as a user would type it; each verb's signature is its command line."""
    options = [
        text
        for name, value in step.options.items()
        if value is not None
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    return ["histoproto", step.verb, *map(str, step.arguments), *options]


def total_units(jobs: Sequence[Job]) -> tuple[int, int]:
    """Return how many units are done, and how many there are."""
    return sum(job.units_done for job in jobs), sum(job.units for job in jobs)


def _units_done(step: Step, epochs: int) -> int:
    if step.verb != "train":
        return int(is_done(step))
    if is_done(step):
        return epochs
    rows = RunFolder(step.product.parent).metrics_file
    return max(0, len(rows.read_text(encoding="utf-8").splitlines()) - 1) if rows.is_file() else 0


def _with_helper(cell: Cell, helper: Path) -> Cell:
    return cell.with_encoder(f"run:{helper.absolute()}") if HELPER in cell.encoders else cell


def _bank(bank: dict[str, Any], seed: int, study: Path, folder: Path) -> Step:
    options = {"out": folder, **bank, "seed": seed}
    per_class = options.get("per_class")
    if per_class is not None:
        numbers = per_class if isinstance(per_class, list) else [per_class]
        options["per_class"] = ",".join(map(str, numbers))
    return Step("bank", (study,), options, folder / "bank.json")


def _zeroshot(cell: Cell, study: Path, folder: Path, bank: Path | None, split: str) -> Step:
    asking = cell.asking
    options = {
        "encoder": asking.encoder,
        "encoder_weights": asking.encoder_weights,
        "split": split,
        "prompts": asking.prompts,
        "prompt_file": None if asking.sentence is None else str(folder / PROMPTS),
        "bank": bank,
        "per_class_limit": asking.per_class_limit,
        "out": folder,
    }
    return Step("zeroshot", (study,), options, folder / "zeroshot.json")
