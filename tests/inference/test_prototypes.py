from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from histoproto.contracts import Method
from histoproto.data.manifest import PatchRecord
from histoproto.errors import LabelError
from histoproto.inference.nearest import draw_evenly, examples_of_class, nearest_patches
from histoproto.inference.prototypes import activation_maps, measure, vector_similarity
from histoproto.prototypes.health import find_dead, find_duplicates, superfluous


class Colours(Method):
    """Prototypes are colours: red and green for class 0, blue, blue and nothing for class 1."""

    unit_maps = False
    counts = (2, 3)

    def __init__(self):
        super().__init__()
        rows = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 2], [0, 0, 0]]
        self.prototypes = nn.Parameter(torch.tensor(rows))

    def prototype_maps(self, images):
        pixels = images.unfold(2, 4, 4).unfold(3, 4, 4).mean((-2, -1))
        return torch.einsum("bchw,tc->bthw", pixels, self.prototypes.clamp(max=1))

    def class_maps(self, images):
        raise NotImplementedError

    def training_step(self, images, labels, step):
        raise NotImplementedError


def patch(folder, name, blocks, labels, group="a"):
    """Write a patch of two blocks of 4 x 4 pixels side by side."""
    colours = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255)}
    pixels = np.concatenate([np.full((4, 4, 3), colours[block], np.uint8) for block in blocks], axis=1)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    return record(folder / f"{name}.png", labels, group)


def record(path, labels, group="a"):
    return PatchRecord(Path(path), labels, None, group, 0.5, Path(path).name, 8, 4)


@pytest.fixture
def records(tmp_path):
    return [patch(tmp_path, "1", "rg", (1, 0)), patch(tmp_path, "2", "rr", (1, 0)), patch(tmp_path, "3", "gb", (0, 1))]


def test_shares_count_places_of_labelled_patches_and_ties_are_halved(records):
    behaviour = measure(Colours(), records, None, lambda _count: None)
    assert behaviour.labelled == [2, 1]
    third = 1 / 3  # on green, the three of class 1 tie at 0; on blue, its two blue ones tie
    expected = [0.75, 0.25, (0.5 + third) / 2, (0.5 + third) / 2, third / 2]
    assert behaviour.shares == pytest.approx(expected)


def test_peaks_spots_and_extremes_are_those_of_the_maps(records):
    behaviour = measure(Colours(), records, None, lambda _count: None)
    assert behaviour.peaks[:, 0].tolist() == [1, 1, 0]
    assert behaviour.spots[0, 1].tolist() == [0.5, 0, 1, 1]
    assert behaviour.spots[2, 2].tolist() == [0.5, 0, 1, 1]
    assert behaviour.lowest.tolist() == [0] * 5


def test_correlation_is_that_of_all_places_and_zero_for_a_map_that_never_changes(records):
    method = Colours()
    maps = torch.stack(activation_maps(method, records, None)).transpose(0, 1).flatten(1)
    correlation = measure(method, records, None, lambda _count: None).correlation
    np.testing.assert_allclose(correlation[:4, :4], np.corrcoef(maps[:4]), atol=1e-6)
    assert correlation[4].tolist() == [0, 0, 0, 0, 1]


def test_every_patch_is_counted_whatever_the_batches(records):
    finished = []
    many = measure(Colours(), records * 7, None, finished.append)
    once = measure(Colours(), records, None, finished.append)
    assert sum(finished[:-1]) == 21
    assert many.shares == pytest.approx(once.shares)
    torch.testing.assert_close(many.correlation, once.correlation)


def test_a_class_that_no_patch_is_labelled_with_has_no_share(records):
    assert measure(Colours(), records[:2], None, lambda _count: None).shares[2:] == [None] * 3


def test_patches_without_labels_are_refused(records):
    with pytest.raises(LabelError, match="labels"):
        measure(Colours(), [record(records[0].path, None)], None, lambda _count: None)


def test_vectors_are_compared_by_cosine_whatever_their_length():
    similarity = vector_similarity(Colours())
    assert similarity[2, 3] == 1
    assert similarity[0, 1] == 0


def test_the_share_below_one_percent_is_dead_and_an_unknown_one_is_not():
    assert [finding.prototypes for finding in find_dead([0.99, 0.0099, 0.01, None])] == [(1,)]


def test_duplicates_are_joined_into_groups():
    correlation = torch.eye(5)
    for one, other in ((0, 2), (2, 4)):
        correlation[one, other] = correlation[other, one] = 0.985
    (finding,) = find_duplicates(correlation)
    assert finding.prototypes == (0, 2, 4)
    assert finding.value == pytest.approx(0.985)
    assert superfluous([finding]) == {2, 4}


def test_of_duplicates_one_that_lives_is_kept():
    correlation = torch.eye(3)
    correlation[0, 1] = correlation[1, 0] = 1
    findings = [*find_dead([0.0, 0.5, 0.5]), *find_duplicates(correlation)]
    assert superfluous(findings) == {0}


def test_patches_are_drawn_evenly_over_classes_and_the_same_every_time():
    records = [record(f"{i}.png", (1, 0) if i < 90 else (0, 1)) for i in range(100)]
    drawn = draw_evenly(records, 2, 12)
    assert sum(one.labels[1] for one in drawn) == 6
    assert drawn == draw_evenly(records, 2, 12)
    assert len(draw_evenly(records, 2, 50)) == 50
    assert draw_evenly(records, 2, 100) == records


def test_the_best_of_each_source_comes_before_a_second_of_the_same():
    peaks = torch.tensor([0.9, 0.8, 0.7, 0.2, 0.1])
    assert nearest_patches(peaks, ["a", "a", "a", "b", "c"], 3) == [0, 3, 4]
    assert nearest_patches(peaks, ["a", "a", "a", "b", "c"], 4) == [0, 1, 3, 4]
    assert nearest_patches(peaks, ["a"] * 5, 9) == [0, 1, 2, 3, 4]


def test_examples_show_the_class_beside_one_other_from_different_sources():
    labels = [(1, 1, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1)]
    records = [record(f"{i}.png", digits, "ab"[i % 2]) for i, digits in enumerate(labels)]
    assert examples_of_class(records, 0, 2) == [2, 3]
    assert set(examples_of_class(records, 0, 9)) == {0, 1, 2, 3}
