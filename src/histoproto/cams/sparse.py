"""Sparse matrices times tall and narrow dense ones: many rows, a few channels."""

from dataclasses import dataclass

from jaxtyping import Float, Int32
from torch import Tensor
from torch.nn.functional import embedding_bag


@dataclass(frozen=True)
class SparseMatrix:
    """A matrix by rows: each row of the product is a weighted sum of a few rows of the other factor.

    That is what torch calls a bag of embeddings; on a CPU its kernel was several times faster than gathering rows and
    adding them up (``index_add_``), and it runs on GPUs, too.
    """

    columns: Int32[Tensor, " entries"]
    """Where the entries stand, row by row."""
    starts: Int32[Tensor, " rows_and_1"]
    """Where the entries of each row begin; behind the last row, their number."""
    entries: Float[Tensor, " entries"]
    """Their values."""

    def __matmul__(self, values: Float[Tensor, "columns channels"]) -> Float[Tensor, "rows channels"]:
        """Return the product; fastest if ``values`` are contiguous."""
        return embedding_bag(
            self.columns, values, self.starts, mode="sum", per_sample_weights=self.entries, include_last_offset=True
        )
