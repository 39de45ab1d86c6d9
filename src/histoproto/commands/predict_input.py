"""Predict one input, a patch or a slide, into a folder of its own."""

import json as json_text
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoproto.errors import DataError

if TYPE_CHECKING:
    from histoproto.contracts import SlideReader
    from histoproto.slides.pages import PagedReader

LARGEST_PX = 150_000_000
"""Pixels at the run's resolution whose maps fit into memory at once."""
OUTPUTS = ("mask.png", "confidence.png", "overlay.png", "areas.json")


@dataclass(frozen=True)
class PredictOptions:
    """What inputs are predicted with; plain values, so that another process can be told."""

    run: Path
    checkpoint: str = "best"
    assume_mpp: float | None = None


class Predictor:
    """A trained model, ready for any number of inputs.

    Args:
        options: the run and how inputs are read.

    Raises:
        RunError: if the run is none or has not finished.
    """

    def __init__(self, options: PredictOptions) -> None:
        from histoproto.inference.gate import Gate
        from histoproto.wiring.runs import load_run

        self.options = options
        self.trained = load_run(options.run, options.checkpoint)
        self.gate = Gate.from_record(self.trained.folder.read_record(), str(options.run))
        self._model = self._model_stamp()

    def __call__(self, file: Path, folder: Path) -> dict[str, Any]:
        """Return the areas of an input, from its finished results or by making them.

        Args:
            file: a patch, photograph or slide.
            folder: receives its results.

        Raises:
            DataError: if the input cannot be read.
        """
        stamp = self.stamp(file)
        return finished(folder, stamp) or self._predict(file, folder, stamp)

    def stamp(self, file: Path) -> dict[str, Any]:
        """Return everything that a result depends on; a result with another stamp is made anew."""
        state = file.stat()
        return {
            "file": str(file.absolute()),
            "bytes": state.st_size,
            "modified_ns": state.st_mtime_ns,
            "assume_mpp": self.options.assume_mpp,
            **self._model,
        }

    def _model_stamp(self) -> dict[str, Any]:
        import hashlib
        from dataclasses import asdict

        checkpoint = self.trained.folder.checkpoint(self.options.checkpoint)
        with (checkpoint / "model.safetensors").open("rb") as handle:
            weights = hashlib.file_digest(handle, "sha256").hexdigest()
        return {
            "checkpoint_sha256": weights,
            "gate": self.gate.to_dict(),
            "inference": asdict(self.trained.settings.inference),
        }

    def _predict(self, file: Path, folder: Path, stamp: dict[str, Any]) -> dict[str, Any]:
        from histoproto.atomic import write_json
        from histoproto.contracts import Region
        from histoproto.formats.areas import class_areas
        from histoproto.formats.confidence import write_confidence
        from histoproto.formats.overlay import write_overlay
        from histoproto.inference.decision import background_of, decide, predicted_classes
        from histoproto.inference.evidence import evidence_by_tiles, evidence_of, tile_count, tiling_of
        from histoproto.inference.refine import refiner_of
        from histoproto.masks import write_mask
        from histoproto.progress import progress_bar
        from histoproto.slides.reader import open_image

        trained, gate = self.trained, self.gate
        settings = trained.settings.inference
        source = open_image(file, assume_mpp=self.options.assume_mpp)
        notes = _notes(source)
        reader = _at_training_mpp(source, trained.folder.read_record().get("mpp"))
        try:
            if reader.width_px * reader.height_px > LARGEST_PX:
                raise DataError(
                    f"{file}: {reader.width_px} x {reader.height_px} px at the run's resolution is more than "
                    f"{LARGEST_PX // 10**6} megapixels; cut out a region and predict that"
                )
            rgb = reader.read(Region(0, 0, reader.width_px, reader.height_px))
            if max(rgb.shape[:2]) > tiling_of(gate.window_px, settings).tile_px:
                with progress_bar(f"Tiles of {file.name}", tile_count(reader, gate.window_px, settings)) as advance:
                    evidence = evidence_by_tiles(trained.model, reader, gate.window_px, settings, advance)
            else:
                evidence = evidence_of(trained.model, rgb, gate.window_px, settings)
        finally:
            reader.close()
        background = background_of(rgb, evidence.maps, settings.background)
        refine = refiner_of(trained.model, rgb, settings)
        decision = decide(evidence.maps, predicted_classes(evidence, gate), background, refine)
        mask = decision.mask.numpy()
        write_mask(folder / "mask.png", mask, trained.taxonomy)
        write_confidence(folder / "confidence.png", decision.confidence.numpy())
        write_overlay(folder / "overlay.png", rgb, mask, trained.taxonomy)
        content = {
            "image": str(file),
            "width_px": reader.width_px,
            "height_px": reader.height_px,
            "mpp": reader.mpp,
            "notes": notes,
            "areas": class_areas(mask, trained.taxonomy, reader.mpp),
            "source": stamp,
        }
        write_json(folder / "areas.json", content)  # last: it says that the others are complete
        return content


def finished(folder: Path, stamp: dict[str, Any]) -> dict[str, Any] | None:
    """Return the areas of an input whose results are all there and were made in the same way."""
    if not all((folder / name).is_file() for name in OUTPUTS):
        return None
    try:
        content: dict[str, Any] = json_text.loads((folder / "areas.json").read_text(encoding="utf-8"))
    except ValueError:
        return None  # damaged: make it again
    return content if content.get("source") == stamp else None


def _at_training_mpp(reader: "PagedReader", training_mpp: float | None) -> "SlideReader":
    """Return the image at the resolution of the training patches.

    A plain picture that does not say its resolution is taken at that of the training patches; a slide that does not
    say it is refused.
    """
    from histoproto.slides.flat import FlatReader
    from histoproto.slides.mpp import require_mpp
    from histoproto.slides.resample import at_mpp

    if isinstance(reader, FlatReader) and reader.mpp is None:
        return reader
    require_mpp(reader)
    return reader if training_mpp is None else at_mpp(reader, training_mpp)


def _notes(source: "PagedReader") -> list[str]:
    """Return what was taken for granted or changed when the image was read."""
    from histoproto.slides.flat import FlatReader

    notes = []
    if isinstance(source, FlatReader):
        if source.converted_from:
            notes.append(f"converted from {source.converted_from} to RGB")
        if source.mpp is None:
            notes.append("does not say its microns per pixel: taken at those of the training patches")
    return notes
