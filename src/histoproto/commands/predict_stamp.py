"""What a result depends on, as plain values: a result with another stamp is made anew."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoproto.commands.slide_state import SlideState, read_state
from histoproto.errors import HistoprotoError

if TYPE_CHECKING:
    from histoproto.commands.predict_input import PredictOptions
    from histoproto.commands.predict_task import Task

REASONS = {
    "another model": ("checkpoint_sha256", "gate"),
    "other options": ("assume_mpp", "region", "inference"),
    "an older file": ("file", "bytes", "modified_ns"),
}
"""Which entries of a stamp differ where a result is of that."""


def model_stamp(options: "PredictOptions") -> dict[str, Any]:
    """Return what all results of a run depend on; the network is not loaded.

    Raises:
        RunError: if the run is none or has not finished.
        OSError: if its weights cannot be read.
    """
    import hashlib
    from dataclasses import asdict

    from histoproto.inference.gate import Gate
    from histoproto.presets.changes import read_any_settings
    from histoproto.runs import RunFolder

    run = RunFolder(options.run)
    with (run.checkpoint(options.checkpoint) / "model.safetensors").open("rb") as handle:
        weights = hashlib.file_digest(handle, "sha256").hexdigest()
    inference = options.inference_of(read_any_settings(run.read_config(), run.config_file))
    return {
        "checkpoint_sha256": weights,
        "gate": Gate.from_record(run.read_record(), str(options.run)).to_dict(),
        "inference": asdict(inference),
    }


def input_stamp(options: "PredictOptions", file: Path) -> dict[str, Any]:
    """Return what the result of an input depends on beside the model.

    Raises:
        OSError: if there is no such file.
        DataError: if the microns per pixel of a slide matter and it cannot be opened.
    """
    state = file.stat()
    return {
        "file": str(file.absolute()),
        "bytes": state.st_size,
        "modified_ns": state.st_mtime_ns,
        "assume_mpp": _used_mpp(options.assumed_mpp(file), file),
        "region": _region_stamp(options.region, file),
    }


def outdated(options: "PredictOptions", tasks: "Sequence[Task]") -> tuple[int, list[str]]:
    """Return how many inputs have a result that will be made anew, and why, in the order of ``REASONS``.

    What cannot be read is not counted: its prediction says so.

    Args:
        options: what inputs are about to be predicted with.
        tasks: the inputs.
    """
    before = [(task, state) for task in tasks if (state := read_state(task.folder)) and state.state == "done"]
    if not before:
        return 0, []
    try:
        model = model_stamp(options)
    except (HistoprotoError, OSError):
        return 0, []
    found = [reasons for task, state in before if (reasons := _differences(options, model, task.file, state))]
    return len(found), [reason for reason in REASONS if any(reason in reasons for reasons in found)]


def _differences(options: "PredictOptions", model: dict[str, Any], file: Path, state: SlideState) -> list[str]:
    try:
        stamp = {**input_stamp(options, file), **model}
    except (HistoprotoError, OSError):
        return []
    old = state.stamp or {}
    return [reason for reason, keys in REASONS.items() if any(old.get(key) != stamp[key] for key in keys)]


def _used_mpp(given: float | None, file: Path) -> float | None:
    """Return the given microns per pixel if the image does not say its own."""
    from histoproto.slides.reader import FLAT_SUFFIXES, open_image

    if given is None or file.suffix.lower() in FLAT_SUFFIXES:  # these never say, and opening decodes them
        return given
    source = open_image(file)
    source.close()
    return given if source.mpp is None else None


def _region_stamp(region: Path | None, file: Path) -> str | None:
    """Return the hash of what was drawn on a slide."""
    import hashlib

    from histoproto.commands.regions_of_interest import region_files

    if region is None:
        return None
    files = region_files(region, file) if region.is_dir() else [region]
    return hashlib.sha256(b"".join(entry.read_bytes() for entry in files if entry.is_file())).hexdigest()
