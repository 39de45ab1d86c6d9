r"""Batch normalisation over the shares of all processes, so that several take the steps that one would.

BatchNorm (Ioffe and Szegedy, ICML 2015) normalises by mean and variance of a whole batch. Where each process holds a
share of it, the sums behind both are added up over the processes, in the forward pass and, for their gradients, in the
backward pass.

*Differences* from torch's ``SyncBatchNorm``: it computes on CPUs, too, and no module takes another's place, so layers
that do more than normalise (timm's, which hold an activation) stay what they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode


class SharedBatchNorm(TorchFunctionMode):
    """While the block runs, every batch normalisation in training mode takes the statistics of all processes.

    All processes must normalise the same layers in the same order. A single process computes as it always does.

    Args:
        fabric: launched, connected to the other processes if there are any.
    """

    def __init__(self, fabric: Fabric) -> None:
        super().__init__()
        # a group of their own: where DDP sends its gradients in between may differ from process to process
        self._group: Any = torch.distributed.new_group() if fabric.world_size > 1 else None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compute any function of torch; ``batch_norm`` over the processes."""
        if func is batch_norm and self._group is not None:
            return _batch_norm(self._group, *args, **kwargs or {})
        return func(*args, **kwargs or {})


def _batch_norm(
    group: ProcessGroup,
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return this process's share of what torch's ``batch_norm`` makes of the whole batch; arguments are the same."""
    if not training:
        return batch_norm(values, running_mean, running_var, weight, bias, training, momentum, eps)
    others = [axis for axis in range(values.ndim) if axis != 1]
    per_channel = [1, -1, *[1] * (values.ndim - 2)]
    exact = values.float()
    own = exact.new_tensor([values.numel() // values.shape[1]])
    sums = _Sum.apply(torch.cat([exact.sum(others), own]), group)
    mean, count = sums[:-1] / sums[-1], sums[-1]
    centred = exact - mean.view(per_channel)
    variance = _Sum.apply(centred.square().sum(others), group) / count
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.detach().to(running_mean), momentum)
        running_var.lerp_((variance.detach() * count / (count - 1)).to(running_var), momentum)
    normalised: Tensor = centred * (variance + eps).rsqrt().view(per_channel)
    if weight is not None:
        normalised = normalised * weight.view(per_channel)
    if bias is not None:
        normalised = normalised + bias.view(per_channel)
    return normalised.to(values.dtype)


class _Sum(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, group: ProcessGroup) -> Tensor:
        """Return the sum of every process's tensor."""
        ctx.group = group
        summed = mine.clone()
        torch.distributed.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the sum of all processes' losses."""
        summed = gradient.contiguous().clone()
        torch.distributed.all_reduce(summed, group=ctx.group)
        return summed, None
