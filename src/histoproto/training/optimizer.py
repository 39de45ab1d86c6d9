"""AdamW over a method's parameters, and its state as named tensors."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from histoproto.errors import RunError
from histoproto.training.settings import TrainSettings

FEATURES = ("backbone.", "network.encoder.")
"""Where methods and segmenters keep what may have been trained before."""


def make_optimizer(method: nn.Module, settings: TrainSettings) -> AdamW:
    """Return AdamW with one group for each combination of learning rate and weight decay.

    Each group holds ``lr_factor``, by which the schedule's learning rate is multiplied. Parameters that need no
    gradient are left out. Unless everything decays, vectors and scalars (norms, biases, learnable scales) do not.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = settings.backbone_lr_factor if name.startswith(FEATURES) else 1.0
        exempt = parameter.ndim <= 1 or parameter.numel() == 1
        decay = settings.weight_decay if settings.decay_everything or not exempt else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return AdamW(
        [
            {"params": parameters, "lr_factor": factor, "weight_decay": decay}
            for (factor, decay), parameters in groups.items()
        ],
        lr=settings.lr,
    )


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Give every group its share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def optimizer_tensors(method: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state as ``<quantity>/<parameter name>``, for example ``exp_avg/head.weight``."""
    return {
        f"{quantity}/{name}": value.contiguous()
        for name, parameter in method.named_parameters()
        for quantity, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(method: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors from `optimizer_tensors` back.

    Raises:
        RunError: if a tensor belongs to no parameter of the method or has another shape.
    """
    parameters = dict(method.named_parameters())
    for entry, value in tensors.items():
        quantity, _, name = entry.partition("/")
        parameter = parameters.get(name)
        if parameter is None or (value.ndim and value.shape != parameter.shape):
            raise RunError(f"the optimiser's checkpoint does not fit the method at {name}; was config.yaml changed?")
        # AdamW keeps its step counter on the CPU: on the GPU it would cost a sync per parameter. The copy lets go of
        # the file, which the next save removes: some network file systems keep a file that is still mapped.
        device = value.device if quantity == "step" else parameter.device
        optimizer.state[parameter][quantity] = value.to(device, copy=True)
