"""A tiny method and tiny patches to train it on, also as a program for tests that need processes of their own."""

import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM

import torch
from safetensors.torch import save_file
from torch import nn

from histoproto.contracts import ClassMaps, Method, StepOutput
from histoproto.runs import RunFolder
from histoproto.training.loop import fit
from histoproto.training.preparing import labelled
from histoproto.training.processes import processes
from histoproto.training.settings import AugmentSettings, TrainSettings
from histoproto.training.shared_norm import SharedBatchNorm

AUGMENT = AugmentSettings(flips=True, stain_sigma=0.1, stain_bias=0.05)


class Toy(Method):
    """A convolution, dropout and a head; one loss term is off at first, and a moving average follows the head."""

    def __init__(self, dropout=0.3, at_step=lambda step: None):
        super().__init__()
        torch.manual_seed(1)
        self.backbone = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(8, 2, 1)
        self.late = nn.Conv2d(8, 2, 1)
        self.register_buffer("average", torch.zeros(2, 8, 1, 1))
        self.at_step = at_step

    def training_step(self, images, labels, step):
        features = self.dropout(self.norm(self.backbone(images)).relu())
        loss = self._loss(self.head(features), labels)
        terms = {"classification": loss.detach()}
        if step >= 3:
            late = self._loss(self.late(features), labels)
            terms["late"] = late.detach()
            loss = loss + 0.1 * late
        return StepOutput(loss, terms)

    def _loss(self, maps, labels):
        return nn.functional.binary_cross_entropy_with_logits(maps.mean((-2, -1)).float(), labels)

    def class_maps(self, images):
        maps = self.head(self.dropout(self.norm(self.backbone(images)).relu())).float()
        return ClassMaps(maps, maps)

    def prototype_maps(self, images):
        return [self.class_maps(images).maps[:, :, None]]

    def after_step(self, step):
        self.average.lerp_(self.head.weight.detach(), 0.1)
        self.at_step(step)


@dataclass(frozen=True)
class Batch:
    images: torch.Tensor
    labels: torch.Tensor
    names: list[str]
    indices: torch.Tensor


class Patches(torch.utils.data.Dataset):
    """Noise whose colour says which of two classes is there."""

    def __init__(self, count, first=0):
        self.count, self.first = count, first

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        noise = torch.randint(0, 128, (3, 8, 8), generator=torch.Generator().manual_seed(self.first + index))
        label = index % 2
        noise[label] += 100
        return noise.to(torch.uint8), torch.tensor([1.0 - label, float(label)]), f"patch{index}.png", index


def collate(items):
    images, labels, names, indices = zip(*items, strict=True)
    return Batch(torch.stack(images), torch.stack(labels), list(names), torch.tensor(indices))


def settings(**changes):
    plain = {"epochs": 3, "batch": 4, "lr": 0.01, "warmup_steps": 2, "save_every_steps": 3, "log_every_steps": 2}
    return TrainSettings(**plain | changes)


def train(folder, method=None, *, patches=21, holdout=6, resume=False, augment=AUGMENT, evaluate_masks=None, **changes):
    """Train in a folder: 5 steps an epoch, 3 epochs, a save after every third step unless told otherwise."""
    method = method or Toy()
    result = fit(
        method,
        Patches(patches),
        Patches(holdout, first=1000) if holdout else None,
        settings=settings(**changes),
        prepare=labelled(augment, 7),
        run=RunFolder(Path(folder)),
        seed=7,
        collate=collate,
        resume=resume,
        evaluate_masks=evaluate_masks,
    )
    return method, result


def train_together(folder, *, at_step=lambda step: None, resume=False):
    """Train as one of several processes; what depends on the process (dropout) is off."""
    return train(folder, Toy(dropout=0.0, at_step=at_step), epochs=6, patches=8, resume=resume)


def train_together_until_told_to_stop(folder):
    """Train as one of several processes, each of which gets SIGTERM in the middle of the fourth epoch."""
    return train_together(folder, at_step=lambda step: os.kill(os.getpid(), SIGTERM) if step == 5 else None)


def normalise(values, wanted, *, norms=None):
    """Return what BatchNorm makes of a batch, the gradients of a loss over it, and the running statistics."""
    norm = nn.BatchNorm2d(3)
    values = values.clone().requires_grad_()
    with norms or nullcontext():
        out = norm(values)
    (out * wanted).sum().backward()
    return {
        "out": out.detach(),
        "values": values.grad,
        "weight": norm.weight.grad,
        "bias": norm.bias.grad,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
    }


def a_batch():
    """Return a batch of 6 to normalise, far from zero, and the weights of a loss over it."""
    numbers = torch.randn(2, 6, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    return numbers[0] + 30, numbers[1]


def normalise_together(file):
    """Normalise the first two of the batch, or in the second process the other four."""
    with processes("fp32") as fabric:
        mine = slice(2, 6) if fabric.global_rank else slice(0, 2)
        found = normalise(*(part[mine] for part in a_batch()), norms=SharedBatchNorm(fabric))
    save_file(found, f"{file}{fabric.global_rank}.safetensors")


def train_until_killed(folder):
    """Die in the middle of the second epoch, as by SIGKILL from outside."""
    train(folder, Toy(at_step=lambda step: os.kill(os.getpid(), SIGKILL) if step == 8 else None))


if __name__ == "__main__":
    torch.set_num_threads(1)
    base = Path(sys.argv[1])
    (base / "ready").touch()
    train_together(base / "two")
    train_together_until_told_to_stop(base / "fewer")
    normalise_together(base / "share")
    del os.environ["TORCHELASTIC_RUN_ID"]
    train_until_killed(base / "killed")
