from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoproto.errors import ConfigError, TrainingError
from histoproto.training.sampler import BatchPlan


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 3), st.integers(0, 10))
def test_an_epoch_shows_each_patch_at_most_once_and_drops_less_than_a_batch(samples, batch, epoch, seed):
    plan = BatchPlan(samples, batch, seed)
    steps = plan.steps_per_epoch
    batches = list(plan.batches(epoch * steps, (epoch + 1) * steps))
    seen = list(chain.from_iterable(batches))
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(samples))
    assert samples - len(seen) < plan.batch_size
    assert {len(one) for one in batches} == {min(batch, samples)}


@given(st.integers(4, 60), st.integers(1, 4), st.sampled_from([2, 3, 4]))
def test_the_shares_of_all_processes_make_up_the_batches_of_one(samples, share, processes):
    alone = BatchPlan(samples, share * processes, 5)
    if samples < alone.batch:
        return
    together = [BatchPlan(samples, share * processes, 5, processes, rank) for rank in range(processes)]
    steps = 2 * alone.steps_per_epoch
    shares = zip(*(plan.batches(0, steps) for plan in together), strict=True)
    assert [list(chain.from_iterable(parts)) for parts in shares] == list(alone.batches(0, steps))


@given(st.integers(1, 40), st.integers(1, 9), st.data())
def test_beginning_in_the_middle_gives_the_rest_of_the_same_batches(samples, batch, data):
    plan = BatchPlan(samples, batch, 3)
    stop = 3 * plan.steps_per_epoch
    start = data.draw(st.integers(0, stop))
    assert list(plan.batches(start, stop)) == list(plan.batches(0, stop))[start:]


def test_every_epoch_and_every_seed_has_its_own_order():
    orders = [BatchPlan(50, 5, seed).order(epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert BatchPlan(50, 5, 1).order(1) == orders[1]


def test_fewer_patches_than_a_batch_make_one_batch_that_all_processes_share():
    plans = [BatchPlan(7, 16, 0, 2, rank) for rank in (0, 1)]
    assert [plan.steps_per_epoch for plan in plans] == [1, 1]
    first, second = (next(plan.batches(0, 1)) for plan in plans)
    assert len(first) == len(second) == 3
    assert not set(first) & set(second)


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(ConfigError, match="batch of 10 cannot be divided among 4 processes"):
        BatchPlan(100, 10, 0, 4)


def test_an_empty_training_split_is_refused():
    with pytest.raises(TrainingError, match="0 training patches"):
        BatchPlan(0, 10, 0)
