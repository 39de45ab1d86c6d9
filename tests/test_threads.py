import threading
import time

import pytest
import torch

from histoproto.threads import side_by_side, threads_apart

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_results_come_in_the_order_of_the_items_whoever_is_done_first():
    def slow_first(item):
        time.sleep(0.05 if item == 0 else 0)
        return item * item

    assert list(side_by_side(slow_first, range(20), CPU)) == [item * item for item in range(20)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_two_items_are_worked_on_at_once_unless_the_first_goes_alone():
    both = threading.Barrier(2, timeout=5)

    def meet(item):
        both.wait()
        return item

    assert list(side_by_side(meet, range(4), CPU)) == [0, 1, 2, 3]
    with pytest.raises(threading.BrokenBarrierError):
        list(side_by_side(meet, range(4), CPU, first_alone=True))


@pytest.mark.usefixtures("two_threads")
def test_only_a_few_items_are_taken_ahead():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = side_by_side(lambda item: item, items(), CPU)
    next(results)
    assert len(taken) <= 6
    results.close()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_an_error_reaches_the_caller_and_the_threads_come_back():
    def fail(item):
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        list(side_by_side(fail, range(4), CPU))
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_operators_stay_on_their_thread_meanwhile():
    with threads_apart() as threads:
        assert threads == 2
        assert torch.get_num_threads() == 1
        assert list(side_by_side(lambda _item: torch.get_num_threads(), range(2), CPU)) == [1, 1]
