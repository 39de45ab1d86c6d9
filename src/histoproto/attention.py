"""Attention of transformers' vision models, by whatever is fastest where it runs.

torch's fused kernels never store attention maps. On a CPU that costs more than it saves while maps are small: with
plain products of matrices Swin-T, whose windows have 49 tokens, takes half the time forward and backward, and MiT with
its shortened keys an eighth less (``docs/performance.md``).
"""

from typing import Any

from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.nn.functional import dropout as drop
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "histoproto"
"""Under which transformers knows it; a network takes it with ``set_attn_implementation``."""
MOST_KEYS = 256
"""Longer maps would take more memory than they are worth."""


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return ``softmax(s Q K' + mask) V``, as transformers asks for it.

    Args:
        module: the layer, which looks at all keys in both directions and has as many heads of keys as of queries.
        query: ``(batch, heads, queries, channels)``.
        key: ``(batch, heads, keys, channels)``.
        value: ``(batch, heads, keys, channels)``.
        attention_mask: added to the logits, or None.
        scaling: ``s``; ``channels ** -0.5`` if None.
        dropout: share of attention that is dropped in training.
        options: of transformers.

    Returns:
        ``(batch, queries, heads, channels)``, and no attention map.
    """
    # a graph for images of any size cannot depend on the number of keys
    if query.device.type != "cpu" or is_exporting() or key.shape[-2] > MOST_KEYS:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    logits = (query * (scaling or query.shape[-1] ** -0.5)) @ key.transpose(-2, -1)
    if attention_mask is not None:
        logits = logits + attention_mask
    shares = drop(logits.softmax(-1), p=dropout, training=module.training)
    attended = shares.to(value.dtype) @ value
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)


def attend_fast(network: nn.Module) -> None:
    """Let a network attend so.

    Args:
        network: a vision model of transformers, changed in place.
    """
    switch: Any = network.set_attn_implementation
    switch(NAME)
