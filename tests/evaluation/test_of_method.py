"""The evaluator against the same written as loops over pixels, from the definitions alone."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from histoproto.contracts import ClassMaps, Method
from histoproto.data.manifest import PatchRecord
from histoproto.evaluation.figures import all_figures
from histoproto.evaluation.of_method import HONEST, evaluate_method, variants_of
from histoproto.evaluation.split_counts import MAIN, ONE_VIEW
from histoproto.inference.gate import Gate
from histoproto.inference.settings import InferenceSettings
from histoproto.masks import write_mask
from histoproto.taxonomy import Taxonomy

from ..metrics.brute_force import figures

TAXONOMY = Taxonomy("toy", ("A", "B", "C"), ("A", "B", "C"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
WHITE, IGNORE = 3, 255


class ChannelMaps(Method):
    """Sees class A in red, B in green and C in blue: its maps are known without computing."""

    counts = (1, 1, 1)

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, images, labels, step):
        raise NotImplementedError

    def class_maps(self, images):
        values = (images * 255).round()
        return ClassMaps(values, values - 128)

    def prototype_maps(self, images):
        return images


@st.composite
def splits(draw):
    """Return one to three images with masks; values are drawn by seed, so that borders are met only by chance."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    images = []
    for _ in range(draw(st.integers(1, 3))):
        height, width = draw(st.integers(4, 18)), draw(st.integers(4, 18))
        photograph = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        photograph[: draw(st.integers(0, height))] = 240 + random.integers(0, 12, 3, dtype=np.uint8)
        coarse = random.choice([0, 1, 2, WHITE, IGNORE], (5, 5), p=[0.3, 0.2, 0.2, 0.2, 0.1]).astype(np.uint8)
        truth = coarse.repeat(4, 0).repeat(4, 1)[:height, :width]
        images.append((photograph, truth))
    return images


def predicted_mask(photograph, truth, gate, background, thresholds, window):
    """Decide pixel by pixel."""
    height, width, _ = photograph.shape
    values = photograph.astype(int)
    mask = [[IGNORE] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            if background == "counted" and is_white(values, y, x):
                mask[y][x] = WHITE
                continue
            if gate == "none":
                allowed = [0, 1, 2]
            elif gate == "oracle":
                allowed = [c for c in range(3) if (truth == c).any()]
            else:
                scores = [local_mean(values[..., c], y, x, window) - 128 for c in range(3)]
                allowed = [c for c in range(3) if scores[c] >= thresholds[c] or scores[c] == max(scores)]
            best = max((values[y, x, c] for c in allowed), default=None)
            winners = [c for c in allowed if values[y, x, c] == best]
            mask[y][x] = winners[0] if len(winners) == 1 else IGNORE
    return mask


def local_mean(channel, y, x, window):
    """Return the mean over a window around the pixel, shifted inwards at borders."""
    height, width = channel.shape
    rows, columns = min(window, height), min(window, width)
    top = min(max(y - (rows - 1) // 2, 0), height - rows)
    left = min(max(x - (columns - 1) // 2, 0), width - columns)
    return sum(int(channel[j, i]) for j in range(top, top + rows) for i in range(left, left + columns)) / rows / columns


def is_white(values, y, x):
    """Return whether the mean grey value of the 9 x 9 surroundings inside the image is above 200."""
    height, width, _ = values.shape
    greys = [
        0.299 * values[j, i, 0] + 0.587 * values[j, i, 1] + 0.114 * values[j, i, 2]
        for j in range(max(0, y - 4), min(height, y + 5))
        for i in range(max(0, x - 4), min(width, x + 5))
    ]
    return sum(greys) / len(greys) > 200


def evaluated(images, gate, **changes):
    with TemporaryDirectory() as folder:
        records = []
        for index, (photograph, truth) in enumerate(images):
            path, mask = Path(folder) / f"{index}.png", Path(folder) / f"{index}_mask.png"
            Image.fromarray(photograph).save(path)
            write_mask(mask, truth, TAXONOMY)
            records.append(PatchRecord(path, None, mask, f"slide_{index}", None, path.name))
        views = InferenceSettings(**{"views": "none"} | changes)
        return evaluate_method(ChannelMaps(), records, TAXONOMY, gate, variants_of(views), lambda _result: None)


@settings(max_examples=15, deadline=None)
@given(images=splits(), window=st.sampled_from([1, 2, 4]))
def test_every_gate_and_background_rule_equals_loops_over_pixels(images, window):
    thresholds = (-20.3, 0.3, 15.3)
    found = all_figures(evaluated(images, Gate(thresholds, window)).counts, TAXONOMY.classes)["results"]
    assert set(found) == {"predicted", "oracle", "none"}
    for gate, rules in found.items():
        assert set(rules) == {"ignored", "counted"}
        for background, result in rules.items():
            pairs = [
                (predicted_mask(photograph, truth, gate, background, thresholds, window), truth.tolist())
                for photograph, truth in images
            ]
            expected = figures(pairs, 3, background, 0.02)
            for name, values in zip(TAXONOMY.classes, expected["per_class"], strict=True):
                for measure, value in values.items():
                    assert result["per_class"][name][measure] == pytest.approx(value, abs=1e-12), (gate, background)
            assert result["pixel_accuracy"] == pytest.approx(expected["pixel_accuracy"])


def two_images():
    random = np.random.default_rng(1)
    truth = np.array([[0, 0, 1, 1]], np.uint8).repeat(4, 0)
    return [(random.integers(0, 200, (4, 4, 3), dtype=np.uint8), truth) for _ in range(2)]


def test_a_run_with_several_views_is_also_shown_with_one():
    found = evaluated(two_images(), Gate((0.0, 0.0, 0.0), 4), views="d4").counts
    assert {rule.variant for rule in found.counts} == {MAIN, ONE_VIEW}
    told = all_figures(found, TAXONOMY.classes)
    assert set(told["variants"]) == {ONE_VIEW}
    # maps that only look at their own pixel do not change under flips
    assert told["variants"][ONE_VIEW]["none"]["ignored"]["miou"] == told["results"]["none"]["ignored"]["miou"]


def test_an_oracle_is_never_told_to_the_predicted_gate():
    """Only class A is in the truth, and the pictures say B: the honest mask must be wrong, the oracle's right."""
    photograph = np.full((4, 4, 3), 10, np.uint8)
    photograph[..., 1] = 250
    truth = np.zeros((4, 4), np.uint8)
    found = all_figures(evaluated([(photograph, truth)], Gate((0.0,) * 3, 4)).counts, TAXONOMY.classes)["results"]
    assert found["predicted"]["ignored"]["miou"] == found["none"]["ignored"]["miou"] == 0.0
    assert found["oracle"]["ignored"]["miou"] == 1.0


@settings(max_examples=10, deadline=None)
@given(images=splits())
def test_pixels_counted_by_confidence_are_those_of_the_leading_rule(images):
    found = evaluated(images, Gate((-20.3, 0.3, 15.3), 4))
    confusion = found.counts.counts[HONEST].pooled().confusion[:-1, :-1]
    assert found.confidence.right.sum(1).tolist() == confusion.diagonal().tolist()
    assert found.confidence.pixels.sum(1).tolist() == confusion.sum(0).tolist()


def test_presence_is_the_strongest_score_of_each_image_and_the_truth_of_its_mask():
    found = evaluated(two_images(), Gate((0.0, 0.0, 0.0), 4)).presence
    assert found.scores.shape == found.truths.shape == (2, 3)
    assert found.truths.tolist() == [[True, True, False]] * 2
