"""What a segmenter was taught: its pseudo masks in pictures and words."""

import numpy as np

from histoproto.errors import DataError
from histoproto.masks import read_indices
from histoproto.reports import pictures
from histoproto.reports.picture_rows import PictureGroup, PictureRow
from histoproto.reports.reading import PseudoMask, RunContents
from histoproto.taxonomy import Taxonomy

SHOWN = 6
LOOKED_AT = 60
"""Masks, evenly drawn, among which those are chosen that are shown."""
SIDE_PX = 160
REFINERS = {
    "crf": "a dense CRF",
    "affinity": "a random walk between places that look alike",
    "superpixels": "votes in superpixels",
    "sam": "votes in masks of a Segment Anything network",
}


def pseudo_mask_rows(contents: RunContents) -> list[PictureGroup]:
    """Return training patches of several tissues with what the segmenter was told about them; none for other runs."""
    masks = contents.pseudo_masks
    if not masks:
        return []
    looked_at = masks[:: max(1, len(masks) // LOOKED_AT)][:LOOKED_AT]
    several = [mask for mask in looked_at if _tissues(mask, contents.taxonomy) > 1]
    drawn = several[:: max(1, len(several) // SHOWN)][:SHOWN] or looked_at[:SHOWN]
    return [PictureGroup("Training patches", [_row(mask, contents.taxonomy) for mask in drawn])]


def teaching_words(contents: RunContents) -> list[str]:
    """Return sentences about what taught a segmenter; none for other runs."""
    if not contents.segmenter:
        return []
    config, record = contents.config, contents.record
    source = record.get("pseudo_masks", {})
    refine = source.get("inference", {}).get("refine", "none")
    if not source:
        return ["Nothing yet: its pseudo masks are still to be made, or its rounds before the last still train."]
    told = f"{len(contents.pseudo_masks):,} pseudo masks, made by {source.get('run', config.get('source'))}"
    told += f" and refined by {REFINERS[refine]}." if refine in REFINERS else ", not refined."
    sentences = [told]
    if config.get("keep", 1) < 1:
        kept = ", ".join(f"{name} {share:.0%}" for name, share in source.get("kept", {}).items())
        sentences.append(f"Only the most confident pixels of each class were learned from: {kept}.")
    mosaics = config.get("mosaics", {})
    if mosaics.get("share"):
        sentences.append(
            f"{mosaics['share']:.0%} of the training images were mosaics of patches with a single label, whose masks "
            "are known."
        )
    if mosaics.get("pasted"):
        sentences.append(f"Into {mosaics['pasted']:.0%} a region of such a patch was pasted.")
    relabel = config.get("model", {}).get("relabel")
    if relabel is not None:
        sentences.append(
            f"The moving average of the network changed pixels of which it was at least {relabel:.0%} sure."
        )
    if config.get("rounds", 1) > 1:
        first = REFINERS.get(config.get("refine", "none"))
        how = f", whose pseudo masks were refined by {first}" if first and config["rounds"] == 2 else ""
        sentences.append(f"This is the last of {config['rounds']} rounds; the one before lies in previous/{how}.")
    return sentences


def _tissues(mask: PseudoMask, taxonomy: Taxonomy) -> int:
    """Return how many classes a mask holds; 0 if it cannot be read, which its picture then says."""
    try:
        return int((np.unique(read_indices(mask.mask)) < len(taxonomy)).sum())
    except DataError:
        return 0


def _row(mask: PseudoMask, taxonomy: Taxonomy) -> PictureRow:
    shown = {
        "image": pictures.photograph(mask.image, SIDE_PX),
        "pseudo mask": pictures.mask(mask.mask, taxonomy, SIDE_PX),
        "confidence": pictures.confidence(mask.confidence, SIDE_PX),
    }
    return PictureRow(mask.image.name, "", shown, {})
