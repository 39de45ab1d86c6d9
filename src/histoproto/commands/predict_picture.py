"""Predict a picture that is held in memory: a patch, a photograph."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histoproto.contracts import SlideReader
    from histoproto.inference.gate import Gate
    from histoproto.wiring.runs import Run


def predict_picture(trained: "Run", gate: "Gate", reader: "SlideReader", folder: Path) -> dict[str, Any]:
    """Write mask.png, confidence.png, overlay.png and areas.csv, and return the areas.

    Args:
        trained: the model.
        gate: which classes it lets in.
        reader: the picture at the resolution of the training patches.
        folder: receives the results.
    """
    from histoproto.contracts import Region
    from histoproto.formats.areas import class_areas, write_areas
    from histoproto.formats.confidence import write_confidence
    from histoproto.formats.overlay import write_overlay
    from histoproto.inference.decision import background_of, decide, predicted_classes
    from histoproto.inference.evidence import evidence_by_tiles, evidence_of, tile_count, tiling_of
    from histoproto.inference.refine import refiner_of
    from histoproto.masks import write_mask
    from histoproto.progress import progress_bar

    settings, taxonomy = trained.settings.inference, trained.taxonomy
    rgb = reader.read(Region(0, 0, reader.width_px, reader.height_px))
    if max(rgb.shape[:2]) > tiling_of(gate.window_px, settings).tile_px:
        with progress_bar(f"Tiles of {reader.path.name}", tile_count(reader, gate.window_px, settings)) as advance:
            evidence = evidence_by_tiles(trained.model, reader, gate.window_px, settings, advance)
    else:
        evidence = evidence_of(trained.model, rgb, gate.window_px, settings)
    background = background_of(rgb, evidence.maps, settings.background)
    refine = refiner_of(trained.model, rgb, settings)
    decision = decide(evidence.maps, predicted_classes(evidence, gate), background, refine)
    mask = decision.mask.numpy()
    areas = class_areas(mask, taxonomy, reader.mpp)
    write_mask(folder / "mask.png", mask, taxonomy)
    write_confidence(folder / "confidence.png", decision.confidence.numpy())
    width_um = None if reader.mpp is None else reader.width_px * reader.mpp
    write_overlay(folder / "overlay.png", rgb, mask, taxonomy, areas, width_um)
    write_areas(folder / "areas.csv", [("picture", areas)])
    return {"areas": areas}
