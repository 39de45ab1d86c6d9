import torch

from histoproto.prototypes.grouping import expand_labels, membership, merge_mean, merge_softmax


def test_merging_equals_the_released_code(golden):
    numbers = golden("merge")
    counts = numbers["k"].int().tolist()
    for values in ("scores", "cams"):
        torch.testing.assert_close(merge_mean(numbers[values], counts), numbers[f"{values}_mean"])
        torch.testing.assert_close(merge_softmax(numbers[values], counts), numbers[f"{values}_softmax"])
    torch.testing.assert_close(expand_labels(numbers["labels"], counts), numbers["labels_expanded"])


def test_each_prototype_has_one_class():
    table = membership([3, 1, 2])
    assert table.sum(0).tolist() == [1] * 6
    assert table.sum(1).tolist() == [3, 1, 2]


def test_softmax_merge_of_one_prototype_is_the_prototype():
    values = torch.randn(2, 3)
    torch.testing.assert_close(merge_softmax(values, [1, 1, 1]), values)
