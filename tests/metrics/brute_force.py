"""The same figures as loops over pixels and sets of pixels, written from the definitions alone."""

import math

IGNORE = 255
Mask = list[list[int]]


def figures(images: list[tuple[Mask, Mask]], classes: int, background: str, ratio: float) -> dict:
    """Return pooled per-class counts and measures of (prediction, truth) pairs."""
    hits, misses, alarms = ([0] * classes for _ in range(3))
    right = total = 0
    band_both, band_any = [0] * classes, [0] * classes
    for prediction, truth in images:
        pixels = {}
        for y, row in enumerate(truth):
            for x, true in enumerate(row):
                if true == IGNORE or (background == "ignored" and true == classes):
                    continue
                predicted = classes if prediction[y][x] == IGNORE else prediction[y][x]
                pixels[y, x] = (predicted, true)
        total += len(pixels)
        right += sum(predicted == true for predicted, true in pixels.values())
        for name in range(classes):
            predicted_mask = {at for at, (predicted, _) in pixels.items() if predicted == name}
            true_mask = {at for at, (_, true) in pixels.items() if true == name}
            hits[name] += len(predicted_mask & true_mask)
            misses[name] += len(true_mask - predicted_mask)
            alarms[name] += len(predicted_mask - true_mask)
            times = max(1, round(ratio * math.sqrt(len(truth) ** 2 + len(truth[0]) ** 2)))
            predicted_band, true_band = band(predicted_mask, times), band(true_mask, times)
            band_both[name] += len(predicted_band & true_band)
            band_any[name] += len(predicted_band | true_band)
    per_class = []
    for name in range(classes):
        support = hits[name] + misses[name]
        per_class.append(
            {
                "support_px": support,
                "iou": hits[name] / (support + alarms[name]) if support else None,
                "dice": 2 * hits[name] / (2 * hits[name] + misses[name] + alarms[name]) if support else None,
                f"biou_{ratio}": band_both[name] / band_any[name] if support else None,
            }
        )
    return {"per_class": per_class, "pixel_accuracy": right / total if total else None}


def band(mask: set, times: int) -> set:
    """Return a mask minus its erosion by a 3x3 square, repeated; outside the mask is zero."""
    eroded = mask
    for _ in range(times):
        eroded = {(y, x) for y, x in eroded if all((y + j, x + i) in eroded for j in (-1, 0, 1) for i in (-1, 0, 1))}
    return mask - eroded
