import numpy as np
import pytest

from histoproto.banks.building import build_bank
from histoproto.banks.settings import BankSettings
from histoproto.errors import ConfigError, DataError
from tests.banks.test_clustering import bundles

NAMES = ("A", "B")


def two_classes(settings, white=None, sizes=((12, 6), (9, 9))):
    first, _ = bundles(sizes[0], seed=1)
    second, _ = bundles(sizes[1], seed=2)
    vectors = np.concatenate([first, np.roll(second, 3, axis=1)])
    owner = np.repeat([0, 1], [len(first), len(second)])
    white = np.zeros(len(vectors), np.float32) if white is None else white
    return build_bank(NAMES, owner, vectors, white, settings), vectors, owner


def test_the_nearest_patches_make_the_prototype_and_come_in_order():
    (first, _), vectors, owner = two_classes(BankSettings(per_class=2, nearest=4))
    largest = first.sub_classes[0]
    assert (largest.members, len(largest.chosen)) == (12, 4)
    assert (owner[largest.chosen] == 0).all()
    assert (np.diff(largest.cosines) <= 0).all()
    mean = vectors[largest.chosen].mean(0)
    np.testing.assert_allclose(largest.prototype, mean / np.linalg.norm(mean), atol=1e-6)


def test_the_released_prototype_is_the_centre_of_all_members():
    (first, _), vectors, _ = two_classes(BankSettings(per_class=1, nearest=3, prototype="centre"))
    centre = vectors[:18].mean(0)
    np.testing.assert_allclose(first.sub_classes[0].prototype, centre / np.linalg.norm(centre), atol=1e-6)


def test_the_number_of_sub_classes_may_differ_by_class():
    bank, _, _ = two_classes(BankSettings(per_class=(1, 3)))
    assert [len(part.sub_classes) for part in bank] == [1, 3]


def test_auto_finds_the_bundles_and_says_how():
    bank, _, _ = two_classes(BankSettings(per_class="auto"))
    assert [len(part.sub_classes) for part in bank] == [2, 2]
    assert all(max(part.silhouettes, key=part.silhouettes.get) == 2 for part in bank)


def test_white_patches_are_left_out_and_counted():
    white = np.zeros(36, np.float32)
    white[:5] = 0.9
    (first, second), _, _ = two_classes(BankSettings(per_class=1), white)
    assert (first.candidates, first.white, second.white) == (18, 5, 0)
    assert not set(range(5)) & set(first.sub_classes[0].chosen.tolist())


def test_random_groups_hold_patches_of_every_bundle():
    (first, _), _, _ = two_classes(BankSettings(per_class=2, choose="random", nearest=100))
    assert {len(sub_class.chosen) for sub_class in first.sub_classes} == {9}
    assert all((sub_class.chosen < 12).any() and (sub_class.chosen >= 12).any() for sub_class in first.sub_classes)


@pytest.mark.parametrize(
    ("settings", "white", "sizes", "sentence"),
    [
        (BankSettings(per_class=40), None, ((12, 6), (9, 9)), "A: 18 different .* cannot make 40 .* --per-class 18"),
        (BankSettings(), 1.0, ((12, 6), (9, 9)), "A: all 18 single-label patches are more than 50% white"),
        (BankSettings(per_class=1), None, ((3,), ()), "B: no training patch shows this class alone"),
    ],
)
def test_too_few_patches_end_in_a_sentence_with_the_way_out(settings, white, sizes, sentence):
    first, _ = bundles(sizes[0])
    vectors = np.concatenate([first, bundles(sizes[1])[0]]) if sizes[1] else first
    owner = np.repeat([0, 1], [len(first), len(vectors) - len(first)])
    shares = np.full(len(vectors), white or 0.0, np.float32)
    with pytest.raises(DataError, match=sentence):
        build_bank(NAMES, owner, vectors, shares, settings)


def test_equal_patches_count_once():
    rows = np.repeat(np.eye(4, dtype=np.float32)[:2], 5, axis=0)
    with pytest.raises(DataError, match="2 different single-label patches cannot make 3"):
        build_bank(("A",), np.zeros(10, np.int64), rows, np.zeros(10, np.float32), BankSettings())


def test_a_number_per_class_must_name_every_class():
    with pytest.raises(ConfigError, match="names 3 numbers, but there are 2 classes"):
        two_classes(BankSettings(per_class=(1, 2, 3)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"per_class": 0}, "--per-class 0"), ({"nearest": 0}, "--nearest 0"), ({"white_share": 1.5}, "--white-share 1.5")],
)
def test_settings_out_of_range_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        BankSettings(**changes)
