import pytest
import torch

from histoproto.errors import RunError
from histoproto.evaluation.split_counts import MAIN, Rule, SplitCounts
from histoproto.metrics.counts import PixelCounts, count_image

from .simulated import split_of


def some_counts():
    random = torch.Generator().manual_seed(0)
    masks = [torch.randint(0, 4, (2, 30, 20), generator=random) for _ in range(4)]
    return PixelCounts.stacked([count_image(prediction, truth, 3, "counted") for prediction, truth in masks])


def test_counts_come_back_from_the_file_as_they_were(tmp_path):
    split = split_of(some_counts(), ["a", "b", "a", "c"], Rule(MAIN, "none", "counted"))
    split.write(tmp_path / "eval" / "counts.parquet")
    again = SplitCounts.read(tmp_path / "eval" / "counts.parquet", 3)
    assert again.images == split.images
    ((rule, counts),) = again.counts.items()
    assert rule == Rule(MAIN, "none", "counted")
    for found, known in zip(vars(counts).values(), vars(some_counts()).values(), strict=True):
        assert found.dtype == torch.int64
        assert torch.equal(found, known)


def test_groups_add_up_to_the_whole():
    split = split_of(some_counts(), ["a", "b", "a", "c"], Rule(MAIN, "none", "counted"))
    groups = split.by_group(Rule(MAIN, "none", "counted"))
    assert len(groups) == 3
    assert torch.equal(groups.pooled().union.long(), some_counts().pooled().union)


def test_a_missing_or_damaged_table_says_what_to_do(tmp_path):
    file = tmp_path / "run" / "eval" / "counts.parquet"
    with pytest.raises(RunError, match=r"histoproto evaluate .*run"):
        SplitCounts.read(file, 3)
    file.parent.mkdir(parents=True)
    file.write_text("no table")
    with pytest.raises(RunError, match="cannot be read"):
        SplitCounts.read(file, 3)
