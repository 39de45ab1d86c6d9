from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from histoproto.errors import DataError
from histoproto.metrics import overlap
from histoproto.metrics.confusion import confusion_matrix

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics.safetensors"


def test_the_released_evaluators_figures_come_out_exactly():
    golden = load_file(GOLDEN)
    confusion = sum(
        confusion_matrix(prediction, target, 5)
        for prediction, target in zip(golden["prediction"], golden["target"], strict=True)
    )
    iou = overlap.iou(confusion)
    assert torch.equal(confusion, golden["confusion"])
    assert torch.equal(iou.float(), golden["iou"])
    assert torch.equal(overlap.dice(confusion).float(), golden["dice"])
    assert torch.equal(overlap.class_accuracy(confusion).float(), golden["class_accuracy"])
    assert torch.equal(overlap.pixel_accuracy(confusion).float(), golden["pixel_accuracy"])
    weighted = overlap.frequency_weighted(iou, overlap.support(confusion))
    assert torch.equal(weighted.float(), golden["fwiou"])


def test_rows_are_the_truth_and_columns_the_prediction():
    matrix = confusion_matrix(torch.tensor([1, 1, 0]), torch.tensor([0, 0, 0]), 2)
    assert matrix.tolist() == [[1, 2], [0, 0]]
    assert matrix.dtype == torch.int64


def test_ignored_pixels_are_not_counted_whatever_was_predicted_there():
    matrix = confusion_matrix(torch.tensor([9, 1]), torch.tensor([255, 1]), 2)
    assert matrix.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(("prediction", "target", "who"), [([5], [0], "predicted mask"), ([0], [-1], "true mask")])
def test_values_beyond_the_classes_are_refused(prediction, target, who):
    with pytest.raises(DataError, match=f"{who} holds value"):
        confusion_matrix(torch.tensor(prediction), torch.tensor(target), 2)


def test_a_class_without_true_pixels_is_nan_even_if_predicted():
    confusion = torch.tensor([[3, 1], [0, 0]])
    assert overlap.iou(confusion).isnan().tolist() == [False, True]
    assert overlap.dice(confusion).isnan().tolist() == [False, True]
    assert overlap.mean_of_present(overlap.iou(confusion)) == 0.75
    assert overlap.frequency_weighted(overlap.iou(confusion), overlap.support(confusion)) == 0.75


def test_counts_beyond_float32_stay_exact():
    confusion = torch.tensor([[2**40 + 1, 1], [0, 1]])
    assert overlap.support(confusion)[0] == 2**40 + 2
    assert overlap.iou(confusion)[0] == (2**40 + 1) / (2**40 + 2)
