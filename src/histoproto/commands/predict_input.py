"""Predict one input, a patch or a slide, into a folder of its own."""

import json as json_text
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from histoproto.commands.predict_stamp import input_stamp, model_stamp
from histoproto.commands.slide_state import is_finished
from histoproto.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from histoproto.contracts import SlideReader
    from histoproto.formats.qupath import QuPathObject
    from histoproto.inference.settings import InferenceSettings
    from histoproto.presets.segment import SegmentSettings
    from histoproto.presets.settings import RunSettings
    from histoproto.slides.pages import PagedReader

AREAS = "areas.json"


@dataclass(frozen=True)
class PredictOptions:
    """What inputs are predicted with; plain values, so that another process can be told."""

    run: Path
    checkpoint: str = "best"
    assume_mpp: float | None = None
    precision: Literal["bf16", "fp32"] | None = None
    """Arithmetic of the network; None is as the run is set."""
    region: Path | None = None
    """QuPath's GeoJSON, or a folder with one per slide: what to predict of slides."""
    compiled: bool = False
    """Whether class maps are computed by compiled code, which gives the same maps but for rounding."""
    mpp_of: dict[str, float] = field(default_factory=dict)
    """Microns per pixel of single slides that do not say, by absolute path; before ``assume_mpp``."""

    def assumed_mpp(self, file: Path) -> float | None:
        """Return what a slide's microns per pixel are taken for if it does not say."""
        return self.mpp_of.get(str(file.absolute()), self.assume_mpp)

    def inference_of(self, settings: "RunSettings | SegmentSettings") -> "InferenceSettings":
        """Return how a run with these settings predicts."""
        inference = settings.inference
        return inference if self.precision is None else replace(inference, precision=self.precision)


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
        loaded = load_run(options.run, options.checkpoint)
        self.trained = loaded.ready(options.precision, compiled=options.compiled)
        self.gate = Gate.from_record(self.trained.folder.read_record(), str(options.run))
        self._model = model_stamp(options)

    def __call__(self, file: Path, folder: Path) -> dict[str, Any]:
        """Predict an input, whatever its folder holds, and return its areas.

        Args:
            file: a patch, photograph or slide.
            folder: receives its results.

        Raises:
            DataError: if the input cannot be read.
        """
        from histoproto.atomic import write_json
        from histoproto.commands.predict_picture import predict_picture
        from histoproto.commands.predict_slide import predict_slide
        from histoproto.slides.flat import FlatReader
        from histoproto.slides.reader import open_image

        regions = self._regions(file)
        source = open_image(file)
        own_mpp, given_mpp = source.mpp, self.options.assumed_mpp(file)
        source.mpp = given_mpp if own_mpp is None else own_mpp
        try:
            reader = _at_training_mpp(source, self.trained.folder.read_record().get("mpp"))
            if isinstance(source, FlatReader):
                found = predict_picture(self.trained, self.gate, reader, folder)
            else:
                found = predict_slide(self.trained, self.gate, source, reader, regions, folder)
        finally:
            source.close()
        content = {
            "image": str(file),
            "width_px": reader.width_px,
            "height_px": reader.height_px,
            "mpp": reader.mpp,
            "notes": [
                *_mpp_notes(own_mpp, given_mpp),
                *_scale_notes(source.mpp, reader.mpp),
                *_region_notes(regions or []),
                *_notes(source, found),
            ],
            **found,
        }
        write_json(folder / AREAS, content)
        return content

    def stamp(self, file: Path) -> dict[str, Any]:
        """Return everything that a result depends on; a result with another stamp is made anew."""
        return {**input_stamp(self.options, file), **self._model}

    def _regions(self, file: Path) -> "list[QuPathObject] | None":
        from histoproto.commands.regions_of_interest import read_regions
        from histoproto.slides.reader import FLAT_SUFFIXES

        if self.options.region is None:
            return None
        if file.suffix.lower() in FLAT_SUFFIXES:
            raise DataError(f"{file}: --region is for slides; a picture is predicted whole, so leave it out")
        return read_regions(self.options.region, file)


def finished(folder: Path, stamp: dict[str, Any]) -> dict[str, Any] | None:
    """Return the areas of an input whose results are all there and were made in the same way."""
    if not is_finished(folder, stamp):
        return None
    content: dict[str, Any] = json_text.loads((folder / AREAS).read_text(encoding="utf-8"))
    return content


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


def _mpp_notes(own: float | None, given: float | None) -> list[str]:
    """Return where the microns per pixel come from, unless the image says them and nobody else something different."""
    from histoproto.slides.resample import SAME_MPP

    if own is None:
        taken = "at those of the training patches" if given is None else f"for {given:g}"
        return [f"does not say its microns per pixel: taken {taken}"]
    if given is not None and abs(given / own - 1) > SAME_MPP:
        return [f"says {own:.4g} microns per pixel itself: kept, not the {given:g} that were given"]
    return []


def _scale_notes(own: float | None, read: float | None) -> list[str]:
    """Return that an image was enlarged, if it is coarser than the training patches."""
    from histoproto.slides.resample import SAME_MPP

    if own is None or read is None or own / read - 1 <= SAME_MPP:
        return []
    return [f"has {own:.4g} microns per pixel and was enlarged to {read:.4g}, as in training: details are missing"]


def _region_notes(regions: "Sequence[QuPathObject]") -> list[str]:
    """Return that areas are not those of the whole slide, and what was trusted to be tissue."""
    from histoproto.commands.regions_of_interest import TISSUE

    others = sum(region.name != TISSUE for region in regions)
    if not others:
        return []
    inside = "the outline" if others == 1 else f"the {others} outlines"
    if others == len(regions):
        return [f"predicted inside {inside} of --region alone: areas are of the tissue there"]
    return [f"outlines of the class {TISSUE} were trusted, and {inside} beside them, too: all in them is tissue"]


def _notes(source: "PagedReader", found: dict[str, Any]) -> list[str]:
    """Return what was changed or missing when the image was read."""
    from histoproto.slides.flat import FlatReader

    notes = []
    if isinstance(source, FlatReader) and source.converted_from:
        notes.append(f"converted from {source.converted_from} to RGB")
    if found.get("unreadable"):
        notes.append(f"{len(found['unreadable'])} parts cannot be read and are left undecided; {AREAS} lists them")
    if found.get("tiles") == 0:
        notes.append("shows no tissue; if it does, draw outlines: histoproto slides tissue, then --region")
    return notes
