import pytest
import torch
from torch.nn.functional import normalize

from histoproto.errors import ConfigError
from histoproto.prototypes.from_text import text_prototypes


def test_a_prototype_is_the_direction_of_the_mean_of_unit_vectors():
    sentences = torch.tensor([[10.0, 0.0], [0.0, 0.1]])
    half = 0.5**0.5
    torch.testing.assert_close(text_prototypes({"TUM": sentences}, [1]), torch.tensor([[half, half]]))


def test_several_prototypes_of_a_class_take_its_sentences_in_turn():
    first, second = torch.randn(5, 7), torch.randn(1, 7)
    rows = text_prototypes({"TUM": first, "STR": second}, [2, 1])
    unit = normalize(first, dim=1)
    torch.testing.assert_close(rows[0], normalize(unit[[0, 2, 4]].mean(0), dim=0))
    torch.testing.assert_close(rows[1], normalize(unit[[1, 3]].mean(0), dim=0))
    torch.testing.assert_close(rows[2], normalize(second[0], dim=0))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_more_prototypes_than_sentences_are_refused_with_a_way_out():
    with pytest.raises(ConfigError, match="STR has 2 sentences for 3 prototypes; write more sentences"):
        text_prototypes({"TUM": torch.randn(3, 4), "STR": torch.randn(2, 4)}, [3, 3])
