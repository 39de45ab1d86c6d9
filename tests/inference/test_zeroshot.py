import pytest
import torch
from sklearn.metrics import f1_score

from histoproto.inference.zeroshot import bank_vectors, mean_vectors, nearest_classes, score


def test_a_class_is_the_mean_of_its_directions_whatever_their_lengths():
    vectors = mean_vectors([torch.tensor([[10.0, 0.0], [0.0, 1.0]]), torch.tensor([[-3.0, 0.0]])])
    torch.testing.assert_close(vectors.rows, torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]]))
    assert vectors.owners.tolist() == [0, 1]


def test_a_class_without_prompts_is_never_answered_and_its_patches_do_not_count():
    vectors = mean_vectors([torch.eye(3)[:1], torch.zeros(0, 3), torch.eye(3)[2:]])
    answers = nearest_classes(torch.eye(3), vectors)
    assert answers.tolist() == [0, 0, 2]
    scores = score(answers, torch.tensor([0, 1, 2]), vectors, 3)
    assert scores.f1 == (1.0, None, 1.0)
    assert scores.macro_f1 == 1.0
    assert scores.left_out == (0, 1, 0)
    assert scores.support == (1, 0, 1)


def test_the_nearest_of_several_prototypes_decides():
    vectors = bank_vectors(torch.tensor([[1.0, 0.0], [0.0, 5.0], [-1.0, -1.0]]), (2, 1))
    assert nearest_classes(torch.tensor([[0.1, 2.0], [3.0, 0.1], [-1.0, -2.0]]), vectors).tolist() == [0, 0, 1]


def test_f1_is_scikit_learns():
    truth, answers = torch.randint(0, 4, (2, 200))
    vectors = bank_vectors(torch.eye(4), (1, 1, 1, 1))

    scores = score(answers, truth, vectors, 4)

    assert scores.f1 == pytest.approx(f1_score(truth, answers, average=None))
    assert scores.macro_f1 == pytest.approx(f1_score(truth, answers, average="macro"))
    assert scores.confusion[1][2] == int(((truth == 1) & (answers == 2)).sum())
    assert sum(scores.support) == 200


def test_a_class_that_no_patch_shows_is_unknown_and_not_zero():
    vectors = bank_vectors(torch.eye(3), (1, 1, 1))
    scores = score(torch.tensor([0, 1]), torch.tensor([0, 0]), vectors, 3)
    assert scores.f1[2] is None
    assert scores.support == (2, 0, 0)
