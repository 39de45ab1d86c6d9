"""The run folder: the only thing that verbs pass to each other.

::

    config.yaml      everything needed to rebuild the method
    run.json         command, versions, seed, data hash, weights
    metrics.csv      one row per epoch
    tb/              the same for TensorBoard
    checkpoints/     last/ and best/: safetensors + JSON
    masks/  eval/    products of ``masks`` and ``evaluate``
    report.html
"""

import fcntl
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from histoproto.atomic import write_json, write_text
from histoproto.errors import RunError

RECORDED = ("histoproto", "torch", "torchvision", "lightning", "timm", "transformers", "numpy", "pillow")
"""Packages whose versions a run keeps."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in RECORDED}}


@dataclass(frozen=True)
class RunFolder:
    """Paths and small files of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Settings of the run."""
        return self.path / "config.yaml"

    @property
    def record_file(self) -> Path:
        """Provenance of the run."""
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        """Losses per epoch."""
        return self.path / "metrics.csv"

    def checkpoint(self, which: str) -> Path:
        """Folder of the ``last`` or ``best`` checkpoint."""
        return self.path / "checkpoints" / which

    def read_config(self) -> dict[str, Any]:
        """Return the settings.

        Raises:
            RunError: if this is no run folder or its settings cannot be parsed.
        """
        if not self.config_file.is_file():
            raise RunError(f"{self.path} is no run folder (no config.yaml); make one with: histoproto train")
        try:
            config = yaml.safe_load(self.config_file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise RunError(f"{self.config_file} is not valid YAML: {error}") from None
        if not isinstance(config, dict):
            raise RunError(f"{self.config_file} holds no settings; restore it or train again")
        return config

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the settings."""
        write_text(self.config_file, yaml.safe_dump(config, sort_keys=False))

    def resume_command(self) -> str:
        """Return what a user types to go on with a killed training."""
        verb = "segment" if self.read_config().get("method") == "segmenter" else "train"
        return f"histoproto {verb} --resume {self.path}"

    def read_record(self) -> dict[str, Any]:
        """Return the provenance, empty before training has begun."""
        if not self.record_file.is_file():
            return {}
        record: dict[str, Any] = json.loads(self.record_file.read_text(encoding="utf-8"))
        return record

    def write_record(self, record: dict[str, Any]) -> None:
        """Write the provenance."""
        write_json(self.record_file, record)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the folder for this process; the lock goes with the process, however it ends.

        Raises:
            RunError: if another process holds it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path} cannot be made ({error.strerror}); choose another run folder") from None
        with (self.path / ".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"{self.path} is in use by another process; wait for it or choose another run folder"
                ) from None
            yield
