"""A device that is none: its tensors lie on the CPU, but may meet the CPU's own as little as a GPU's may.

So code that forgets to move a tensor fails on a machine without a GPU, too, and what it computes can be compared. It
goes by the name of torch's device ``meta``, on which gradients work without any driver.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

ELSEWHERE = torch.device("meta")
_aten = torch.ops.aten
MOVES = {_aten._to_copy.default, _aten.copy_.default}
TAKES_INDICES = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}
"""May get their indices from the CPU."""


class ElsewhereTensor(torch.Tensor):
    """Stands for a tensor of the CPU."""

    @staticmethod
    def __new__(cls, own):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            own.size(),
            strides=own.stride(),
            storage_offset=own.storage_offset(),
            dtype=own.dtype,
            device=ELSEWHERE,
            requires_grad=own.requires_grad,
        )

    def __init__(self, own):
        self.own = own

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} on the pretended device outside its context")


class _Pretence(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        away = any(isinstance(tensor, ElsewhereTensor) for tensor in tensors)
        here = any(tensor.ndim for tensor in tensors if not isinstance(tensor, ElsewhereTensor))  # numbers may mix
        if away and here and func not in MOVES | TAKES_INDICES:
            raise RuntimeError(f"{func}: tensors of two devices")
        if kwargs.get("device") is not None:
            away = torch.device(kwargs["device"]) == ELSEWHERE
            kwargs["device"] = torch.device("cpu")
        own_args, own_kwargs = tree_map_only(ElsewhereTensor, lambda tensor: tensor.own, (args, kwargs))
        result = func(*own_args, **own_kwargs)
        if func._schema.is_mutable and args and result is own_args[0]:
            return args[0]
        return tree_map_only(torch.Tensor, ElsewhereTensor, result) if away else result


@contextmanager
def pretended_device():
    """Make the device known while the block runs, and yield it."""
    autocast, tensor = torch.autocast, torch.tensor

    def autocast_as_on_cpu(device_type, *args, **kwargs):
        return autocast("cpu" if device_type == ELSEWHERE.type else device_type, *args, **kwargs)

    def tensor_moved_there(data, *, device=None, **kwargs):
        made = tensor(data, **kwargs)
        return made if device is None else made.to(device)

    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with patch.multiple(torch, autocast=autocast_as_on_cpu, tensor=tensor_moved_there), _Pretence():
            yield ELSEWHERE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
