import torch
from hypothesis import given
from hypothesis import strategies as st

from histoproto.inference.row_queue import RowQueue


@given(heights=st.lists(st.integers(1, 9), min_size=1, max_size=8), data=st.data())
def test_any_rows_that_were_not_dropped_come_back_whatever_the_bands(heights, data):
    whole = torch.arange(sum(heights) * 6.0).view(2, sum(heights), 3)
    queue = RowQueue()
    dropped = 0
    for band in whole.split(heights, dim=1):
        queue.push(band)
        first = data.draw(st.integers(dropped, queue.end - 1))
        last = data.draw(st.integers(first + 1, queue.end))
        assert torch.equal(queue.rows(first, last), whole[:, first:last])
        dropped = data.draw(st.integers(dropped, queue.end - 1))
        queue.drop(dropped)
        assert torch.equal(queue.rows(dropped, queue.end), whole[:, dropped : queue.end])
