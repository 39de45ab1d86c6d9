"""``histoproto sweep``."""

import json as json_text
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from histoproto.commands.next_step import say_next
from histoproto.errors import ConfigError, RunError

if TYPE_CHECKING:
    from histoproto.data.manifest import Study
    from histoproto.sweeps.cells import Cell
    from histoproto.sweeps.definition import Definition
    from histoproto.sweeps.folder import SweepFolder
    from histoproto.sweeps.processes import Outcome
    from histoproto.sweeps.steps import Job
    from histoproto.sweeps.table import Table

PARTLY, INTERRUPTED = 3, 130


def sweep(
    name: str | None = None,
    /,
    *,
    data: str | None = None,
    out: Path | None = None,
    tiny: Annotated[bool, Parameter(negative="")] = False,
    seeds: str | None = None,
    jobs: int = 1,
    encoder: str | None = None,
    weights: tuple[str, ...] = (),
    split: str | None = None,
    published: Annotated[bool, Parameter(negative="--no-published")] = True,
    shipped: Annotated[bool, Parameter(name="--list", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train and evaluate a grid of settings times seeds, and put the published figures beside ours.

    Example: ``histoproto sweep pbip-table4 --tiny --data phantom``. Every cell is an ordinary run folder. A
    killed sweep goes on with the same command; a cell that fails does not stop the others, and its log says why.

    Writes OUT/: a folder per cell and seed, table.md, table.tex, table.csv, table.png and figures.csv.

    Args:
        name: A shipped sweep (--list names them), or a YAML file in the form of docs/sweeps.md.
        data: Folder made by histoproto data import, or phantom to draw one inside OUT.
        out: Folder of the sweep; one that holds part of this sweep is completed.
            [default: sweeps/NAME, or sweeps/NAME-tiny]
        tiny: Few patches, few epochs, small networks that need no download; shows the road, not the quality.
        seeds: Numbers such as 0,1,2; more of them may be added later. [default: those of the sweep, or 0 if tiny]
        jobs: Cells at the same time.
        encoder: Take this encoder in place of the sweep's own.
        weights: NAME=SOURCE for a network whose weights no hub has, as in medclip=pytorch_model.bin; may be repeated.
        split: Split to evaluate. [default: that of the sweep]
        published: Put published figures beside ours; they are about certain classes.
        shipped: Name the shipped sweeps and stop.
        json: Print the table as JSON.

    Returns:
        0 when all cells are done, 3 when some failed, 130 when interrupted (the same command goes on).

    Raises:
        ConfigError: if the sweep, a cell of it or an argument is wrong; nothing has begun then.
    """
    from histoproto.runs import RunFolder
    from histoproto.sweeps.definition import read_sweep
    from histoproto.sweeps.folder import SweepFolder

    if shipped or name is None:
        return _list(json=json)
    definition = read_sweep(name)
    if data is None:
        raise ConfigError(f"name the data: histoproto sweep {name} --data STUDY, or --data phantom to draw some")
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}: at least one cell at a time")
    plan = _plan(definition, _numbers(seeds, definition, tiny=tiny), encoder, weights, split, tiny=tiny)
    plan = plan._replace(published=published)
    folder = SweepFolder(out or Path("sweeps") / f"{definition.name}{'-tiny' if tiny else ''}")
    _agree(plan, data, folder)
    with RunFolder(folder.path).in_use():
        return _carry_out(plan, data, folder, jobs, json=json)


class _Plan(NamedTuple):
    """A sweep with all that the command line adds."""

    definition: "Definition"
    cells: "list[Cell]"
    helper: "Cell | None"
    """The helper, where a cell looks through it."""
    seeds: tuple[int, ...]
    split: str
    tiny: bool
    replaced: list[str]
    """What took whose place in a tiny sweep."""
    published: bool = True


def _list(*, json: bool) -> int:
    from histoproto.sweeps.definition import read_sweep, shipped_sweeps

    about = {name: read_sweep(name).about for name in shipped_sweeps()}
    if json:
        sys.stdout.write(json_text.dumps(about, indent=2) + "\n")
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, sentence in about.items():
        table.add_row(name, sentence)
    Console().print(table)
    say_next("histoproto sweep pbip-table4 --tiny --data phantom")
    return 0


def _numbers(text: str | None, definition: "Definition", *, tiny: bool) -> tuple[int, ...]:
    if text is None:
        return (0,) if tiny else definition.seeds
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--seeds {text}: give numbers with commas between them, as in 0,1,2") from None
    if len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise ConfigError(f"--seeds {text}: name each number once, and none below 0")
    return numbers


def _plan(
    definition: "Definition",
    seeds: tuple[int, ...],
    encoder: str | None,
    weights: Sequence[str],
    split: str | None,
    *,
    tiny: bool,
) -> _Plan:
    """Put together all cells and check each of them, before anything begins."""
    from histoproto.sweeps.cells import HELPER, cells_of, check_cell, helper_of
    from histoproto.sweeps.given import read_weights, with_one_encoder, with_weights
    from histoproto.sweeps.tiny import replacements, tiny_cell

    name = definition.name
    original = cells_of(definition)
    cells, helper = original, helper_of(definition)
    for cell in (*original, helper):
        check_cell(cell, name)
    replaced: list[str] = []
    if tiny:
        cells = [tiny_cell(cell) for cell in cells_of(definition, tiny=True)]
        helper = tiny_cell(helper_of(definition, tiny=True))
        replaced = replacements(original, cells)
    if encoder is not None:
        cells = with_one_encoder(cells, encoder, name)
    cells = with_weights(cells, read_weights(weights), name)
    for cell in (*cells, helper):
        check_cell(cell, name)
    needed = any(HELPER in cell.encoders for cell in cells)
    asks = bool(cells[0].zeroshot)
    return _Plan(
        definition,
        cells,
        helper if needed else None,
        seeds[:1] if asks else seeds,
        split or definition.split,
        tiny,
        replaced,
    )


def _agree(plan: _Plan, data: str, folder: "SweepFolder") -> None:
    """Check the data, and that the folder is new or holds this very sweep."""
    from histoproto.data.manifest import read_study
    from histoproto.sweeps.data import PHANTOM

    if data != PHANTOM:
        _check_data(plan, read_study(Path(data)))
    folder.agree(_record(plan, data))


def _check_data(plan: _Plan, study: "Study") -> str | None:
    """Check that the study can be trained on, and return the data set whose published figures belong beside ours."""
    from histoproto.sweeps.data import check_study, published_dataset

    check_study(study, plan.split, trains=not plan.cells[0].zeroshot)
    if plan.definition.published is None or not plan.published:
        return None
    return published_dataset(study.taxonomy, plan.definition.published)


def _record(plan: _Plan, data: str) -> dict[str, Any]:
    from histoproto.data.manifest import read_study
    from histoproto.sweeps.data import PHANTOM, identity, phantom_identity
    from histoproto.sweeps.folder import describe

    of_data = phantom_identity(tiny=plan.tiny) if data == PHANTOM else identity(read_study(Path(data)), tiny=plan.tiny)
    return describe(plan.definition.name, plan.cells, plan.helper, plan.split, of_data)


def _carry_out(plan: _Plan, data: str, folder: "SweepFolder", jobs: int, *, json: bool) -> int:
    """Do what is missing, and show the table of what there is."""
    from histoproto.sweeps.steps import cell_job, helper_job, write_inputs

    folder.agree(record := _record(plan, data))  # another process may have been faster
    folder.write(record)
    study = _study(plan, data, folder)
    if study is None:
        return INTERRUPTED
    dataset = _check_data(plan, study)
    if plan.helper is not None:
        write_inputs(plan.helper, folder.helper, folder.helper, study.taxonomy)
        job = helper_job(plan.helper, 0, study.folder.absolute(), folder.helper)
        if (code := _prepare(job, "the helper")) != 0:
            return code
    runs = [(cell, seed, folder.cell(cell, seed)) for cell in plan.cells for seed in plan.seeds]
    todo: list[Job] = []
    for cell, seed, place in runs:
        write_inputs(cell, place, folder.helper, study.taxonomy)
        todo.append(cell_job(cell, seed, study.folder.absolute(), place, folder.helper, plan.split))
    ended = _run(todo, jobs, plan.definition.name)
    table = _table(plan, runs, folder, study, dataset, data)
    return _report(plan, table, todo, ended, folder, json=json)


def _study(plan: _Plan, data: str, folder: "SweepFolder") -> "Study | None":
    """Return the study, drawn or cut down inside the sweep's folder where it must be; None if that was interrupted."""
    import shutil

    from histoproto.data.manifest import MANIFEST, read_study
    from histoproto.sweeps.data import PHANTOM, drawing, few_patches
    from histoproto.sweeps.steps import Job

    if data != PHANTOM:
        if not plan.tiny:
            return read_study(Path(data))
        made = (folder.study / MANIFEST).is_file()
        return read_study(folder.study) if made else few_patches(read_study(Path(data)), folder.study)
    job = Job("drawing", folder.path / "drawing", (drawing(folder.study, tiny=plan.tiny),))
    if not job.done:
        shutil.rmtree(folder.study, ignore_errors=True)  # a killed sweep left part of it
        if _prepare(job, "drawing the phantom") != 0:
            return None
    return read_study(folder.study)


def _prepare(job: "Job", words: str) -> int:
    """Make what all cells need; return 130 if that was interrupted."""
    from histoproto.sweeps.processes import INTERRUPTED as STOPPED

    ended = _run([job], 1, words)
    if job.done:
        return 0
    if not ended or ended[0].code == STOPPED:
        _say("Interrupted; the same command goes on")
        return INTERRUPTED
    raise RunError(f"{words} failed, and every cell needs it: {ended[0].reason} ({job.log} has all of it)")


def _run(todo: "Sequence[Job]", at_once: int, words: str) -> "list[Outcome]":
    """Run what is not done, with one bar over all of it."""
    from histoproto.commands.sweep_cell import work
    from histoproto.progress import make_progress
    from histoproto.sweeps.processes import run_jobs
    from histoproto.sweeps.steps import total_units

    missing = [job for job in todo if not job.done]
    if not missing:
        return []
    done, total = total_units(todo)
    with make_progress("{task.fields[cells]}") as bars:
        bar = bars.add_task(words, total=total, completed=done, cells="")
        told = 0

        def look(ended: "Sequence[Outcome]") -> None:
            nonlocal told
            there = len(todo) - len(missing) + len(ended)
            bars.update(bar, completed=total_units(todo)[0], cells=f"{there} of {len(todo)} cells")
            if not sys.stderr.isatty():  # a log file gets a line per cell in place of the bar
                for outcome in ended[told:]:
                    state = "done" if outcome.code == 0 else f"ended with {outcome.code}"
                    _say(f"{outcome.job.name}: {state}")
            told = len(ended)

        return run_jobs(missing, work, at_once, look)


def _table(
    plan: _Plan,
    runs: "Sequence[tuple[Cell, int, Path]]",
    folder: "SweepFolder",
    study: "Study",
    dataset: str | None,
    data: str,
) -> "Table":
    from histoproto.sweeps.gather import read_figures
    from histoproto.sweeps.remarks import remarks_on_ours
    from histoproto.sweeps.table import make_table
    from histoproto.sweeps.writing import write_table

    figures = [figure for cell, seed, place in runs for figure in read_figures(cell, seed, place)]
    said = remarks_on_ours(plan.cells, plan.seeds, study, plan.split, data, plan.replaced if plan.tiny else None)
    table = make_table(plan.definition, plan.cells, figures, dataset, said)
    write_table(folder.path, table, figures)
    return table


def _report(
    plan: _Plan,
    table: "Table",
    todo: "Sequence[Job]",
    ended: "Sequence[Outcome]",
    folder: "SweepFolder",
    *,
    json: bool,
) -> int:
    """Show the table and what failed; return the exit code."""
    from histoproto.commands.sweep_table import as_json, show

    left = [job for job in todo if not job.done]
    failed = [outcome for outcome in ended if outcome.code not in (0, INTERRUPTED)]
    interrupted = len(left) > len(failed)
    again = "the same command goes on" if interrupted else "the same command tries them again"
    if json:
        failures = [{"cell": one.job.name, "reason": one.reason, "log": str(one.job.log)} for one in failed]
        content = {"folder": str(folder.path), "done": len(todo) - len(left), "cells": len(todo), "failed": failures}
        sys.stdout.write(json_text.dumps({**content, **as_json(table)}, indent=2) + "\n")
    else:
        show(table, folder.path)
    for outcome in failed:
        _say(f"Failed: {outcome.job.name}: {outcome.reason} ({outcome.job.log})")
    if left:
        _say(f"{len(left)} of {len(todo)} cells are not done; {again}")
        return INTERRUPTED if interrupted else PARTLY
    if not json:
        following = f"histoproto report {todo[-1].folder}" if not plan.cells[0].zeroshot else "histoproto sweep --list"
        say_next(following)
    return 0


def _say(line: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(line, soft_wrap=True, markup=False, highlight=False)
