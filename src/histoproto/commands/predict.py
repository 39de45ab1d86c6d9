"""``histoproto predict``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from histoproto.commands.predict_input import PredictOptions
from histoproto.commands.predict_many import Engine, predict_all
from histoproto.commands.predict_task import Outcome, Task, tasks_of
from histoproto.commands.regions_of_interest import require_own_regions
from histoproto.commands.slide_files import named_files, require_assumed_mpp
from histoproto.errors import ConfigError, DataError


def predict(
    run: Path,
    inputs: list[Path],
    /,
    *,
    out: Path,
    assume_mpp: float | None = None,
    region: Path | None = None,
    precision: Literal["bf16", "fp32"] | None = None,
    compiled: Annotated[bool, Parameter(name="--compile", negative="")] = False,
    checkpoint: str = "best",
    jobs: int | None = None,
    shard: str | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Segment patches, photographs and slides of any size.

    A slide is read at the resolution of the training patches, whatever its own, where it shows tissue; memory does not
    grow with its size. Each input gets a folder in OUT:

    - pictures: mask.png (class indices with palette), confidence.png
    - slides: labels.ome.tif, probabilities.ome.tif, regions.geojson.gz for QuPath, regions.parquet
    - both: overlay.png to look at, areas.csv, areas.json, and state.json last

    Inputs that the same checkpoint has already predicted are skipped, so a killed command goes on where it was.
    histoproto slides status OUT tells how far it is.

    Args:
        run: Run folder of histoproto train.
        inputs: Images, slides, folders of them, or CSV tables with the columns path and, for slides that do not say it,
            mpp.
        out: Folder of the results.
        assume_mpp: Microns per pixel of slides that do not say.
        region: What to predict of slides: QuPath's GeoJSON of the only one, or a folder with NAME.geojson for each.
            [default: all tissue, as histoproto slides tissue finds it]
        precision: fp32, or bf16, which GPUs and some CPUs compute faster. [default: as the run is set]
        compiled: Compile the network for this machine first, which takes up to a minute, seconds the next time, and
            makes it 1.1 to 1.7 times faster: for large slides, or many pictures of one size. On a CPU it needs a C++
            compiler.
        checkpoint: best or last.
        jobs: Worker processes; an input that kills one does not stop the others. [default: none, this process; with
            --engine ray an actor per machine]
        shard: I/N predicts the I-th of N equal shares of the inputs, for job arrays: 1/8 to 8/8.
        engine: local, or ray for the machines of a cluster (docs/many_slides.md).
        address: Of a Ray cluster. [default: one is started on this machine]
        json: Print the areas as JSON.

    Returns:
        0; 3 if some inputs failed, which are listed; 130 when interrupted (the same command goes on).

    Raises:
        DataError: if an input does not exist, or the only one cannot be predicted.
        ConfigError: if an option is wrong.
        RunError: if the run is none or has not finished.
    """
    from histoproto.commands.predict_record import record_command
    from histoproto.commands.predict_stamp import outdated
    from histoproto.commands.predict_table import conclude, say_outdated
    from histoproto.runs import RunFolder

    who = Engine(engine, jobs, address)
    require_assumed_mpp(assume_mpp)
    files = named_files(inputs, _inside)
    mpp_of = {str(file.absolute()): mpp for file, mpp in files.items() if mpp is not None}
    tasks = tasks_of(list(files), out)
    if region is not None:
        require_own_regions(region, list(files))
    RunFolder(run).read_config()  # no record of a run that is none
    region = region and region.absolute()
    options = PredictOptions(run.absolute(), checkpoint, assume_mpp, precision, region, compiled, mpp_of)
    mine = shard_of(tasks, shard)
    record_command(out, options, who, tasks)
    say_outdated(*outdated(options, mine))
    if compiled:
        _check_compiling()
    outcomes = predict_all(options, mine, who)
    if len(tasks) == 1:
        _raise_failure(*outcomes.values())
    return conclude(outcomes, mine, out, run, json=json)


def shard_of(tasks: list[Task], shard: str | None) -> list[Task]:
    """Return the share of the inputs that a job of a job array predicts: each input is in exactly one.

    Args:
        tasks: all inputs in order of their names.
        shard: ``I/N`` from 1/N to N/N; None is all.

    Raises:
        ConfigError: if it is no such share.
    """
    if shard is None:
        return tasks
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ConfigError(f"--shard {shard}: give the share and the number of shares, from 1/8 to 8/8 for eight")
    return tasks[int(number) - 1 :: int(count)]


def _check_compiling() -> None:
    from histoproto.device import fastest_device
    from histoproto.inference.compiled import check_compiling

    kept = check_compiling(fastest_device())
    sys.stderr.write(
        "The first tile or picture of each size waits until the network is compiled: up to a minute, seconds where "
        f"that was done before ({kept})\n"
    )


def _inside(folder: Path) -> list[Path]:
    from histoproto.images import IMAGE_SUFFIXES
    from histoproto.slides.reader import SCANNER_SUFFIXES

    suffixes = (*IMAGE_SUFFIXES, ".svs", *SCANNER_SUFFIXES)
    found = sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))
    if not found:
        raise DataError(f"{folder}: no images in this folder; name image files or a folder that has some")
    return found


def _raise_failure(*outcomes: Outcome) -> None:
    """Let the failure of the only input be the command's."""
    for outcome in outcomes:
        if outcome.error is not None:
            raise DataError(outcome.error)
