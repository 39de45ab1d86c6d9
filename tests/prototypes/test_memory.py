import pytest
import torch
from torch.nn.functional import normalize

from histoproto.prototypes.memory import FeatureMemory


def nothing(count, classes=2):
    return torch.zeros(count, classes, dtype=torch.bool)


def test_queue_equals_the_released_one_over_three_pushes(golden):
    numbers = golden("memory_bank")
    memory = FeatureMemory(5, 8, 2, random_start=True)
    memory.features.copy_(numbers["queue0"])
    for push in (1, 2, 3):
        features = numbers[f"push{push}"]
        memory.push(features, nothing(len(features)))
        torch.testing.assert_close(memory.features, numbers[f"queue{push}"], atol=1e-7, rtol=0)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 3, 3), (2, 7, 1), (5,), (4, 1), (12, 3), (0, 2)])
def test_it_holds_the_newest_features_and_nothing_else(sizes):
    memory, everything = FeatureMemory(5, 3, 2), torch.randn(0, 3)
    for size in sizes:
        new = torch.randn(size, 3)
        memory.push(new, nothing(size))
        everything = torch.cat([everything, new])
    held, _ = memory.read()
    expected = normalize(everything[-5:], dim=1)
    assert len(memory) == len(expected)
    distances = torch.cdist(held, expected)
    assert (distances.min(0).values < 1e-6).all()
    assert (distances.min(1).values < 1e-6).all()


def test_it_begins_empty_or_full_of_random_directions():
    assert len(FeatureMemory(4, 3, 2)) == 0
    full = FeatureMemory(4, 3, 2, random_start=True)
    assert len(full) == 4
    torch.testing.assert_close(full.features.norm(dim=1), torch.ones(4))


def test_which_classes_a_feature_may_hold_stays_with_it():
    memory = FeatureMemory(3, 2, 2)
    for angle in range(5):
        memory.push(torch.tensor([[1.0, float(angle)]]), torch.tensor([[angle % 2 == 0, False]]))
    features, holds = memory.read()
    angles = (features[:, 1] / features[:, 0]).round()
    assert sorted(angles.tolist()) == [2, 3, 4]
    assert holds[:, 0].tolist() == [angle % 2 == 0 for angle in angles.tolist()]


def test_a_saved_and_loaded_memory_goes_on_where_it_stood():
    torch.manual_seed(1)
    memory = FeatureMemory(5, 3, 2)
    memory.push(torch.randn(3, 3), nothing(3))
    restored = FeatureMemory(5, 3, 2)
    restored.load_state_dict(memory.state_dict())
    more = torch.randn(4, 3)
    memory.push(more, nothing(4))
    restored.push(more, nothing(4))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(memory.buffers(), restored.buffers(), strict=True))


def test_it_keeps_no_graph_and_later_pushes_do_not_change_what_was_read():
    memory = FeatureMemory(2, 3, 2)
    memory.push(torch.randn(2, 3, requires_grad=True), nothing(2))
    read, _ = memory.read()
    before = read.clone()
    memory.push(torch.randn(2, 3), nothing(2))
    assert not read.requires_grad
    assert torch.equal(read, before)


def test_the_shared_part_is_the_mean_of_what_is_there():
    memory = FeatureMemory(4, 2, 1)
    assert memory.shared().tolist() == [0, 0]

    memory.push(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.zeros(2, 1, dtype=torch.bool))

    assert memory.shared().tolist() == [0.5, 0.5]
