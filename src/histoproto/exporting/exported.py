"""A trained run with all that goes along when it leaves the house."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from histoproto.banks.folder import file_hash
from histoproto.exporting.figures import Figures, figures_of
from histoproto.exporting.licences import Terms, shown, terms_of, weights_behind
from histoproto.inference.gate import Gate
from histoproto.presets.changes import describe
from histoproto.wiring.runs import Run, load_run

ONE_VIEW = "one-view"
"""What an evaluation calls masks without test-time augmentation."""


@dataclass(frozen=True)
class Exported:
    """A model, and where it comes from."""

    run: Run
    """Its settings are those of the export."""
    gate: Gate
    record: dict[str, Any]
    """Content of ``run.json``."""
    checkpoint: str
    checkpoint_sha256: str
    weights: list[dict[str, Any]]
    """Records of all pretrained weights that it goes back to."""
    terms: Terms
    figures: Figures | str
    """What it was found to be worth, or why nobody knows."""

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.run.folder.path.resolve().name

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values of all settings; of paths on this machine, the last part alone."""
        plain = describe(self.run.settings, self.run.taxonomy, self.run.study)
        return {key: _without_paths(value) for key, value in plain.items() if key not in ("taxonomy", "study")}

    @property
    def command(self) -> str:
        """The command line that trained it, without paths of this machine."""
        return " ".join(shown(part) for part in self.record["command"])


def exported(path: Path, checkpoint: str, *, one_view: bool) -> Exported:
    """Load a run for export.

    Args:
        path: run folder.
        checkpoint: ``best`` or ``last``.
        one_view: look at each image once, whatever the run does.

    Raises:
        RunError: if there is no trained run, or its evaluation cannot be read.
    """
    run = load_run(path, checkpoint)
    record = run.folder.read_record()
    gate = Gate.from_record(record, str(path))
    variant = ONE_VIEW if one_view and run.settings.inference.views != "none" else None
    if variant:
        inference = replace(run.settings.inference, views="none")
        run = run._replace(settings=replace(run.settings, inference=inference))
    weights = weights_behind(run.folder)
    return Exported(
        run=run,
        gate=gate,
        record=record,
        checkpoint=checkpoint,
        checkpoint_sha256=file_hash(run.folder.checkpoint(checkpoint) / "model.safetensors"),
        weights=weights,
        terms=terms_of(weights),
        figures=figures_of(run.folder, checkpoint, gate, variant),
    )


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(inner) for inner in value]
    return shown(value) if isinstance(value, str) else value
