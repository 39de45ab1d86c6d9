"""The wide ResNet38 of weakly supervised segmentation as a pyramid.

Wu, Shen, van den Hengel, "Wider or Deeper: Revisiting the ResNet Model for Visual Recognition", 2016 (model A1), with
the dilations of Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision", CVPR 2018
(AffinityNet): cells of 8 px to the end, dilation 2 in stage 5 and 4 in the bottlenecks 6 and 7.

A block normalises before it convolves:  f = relu(bn(x)),  y = shortcut + convolutions(f),  where the shortcut is x, or
a 1×1 convolution of f where the shape changes. Layers have the names that AffinityNet's conversion gives the ImageNet
file (``b4_5.conv_branch2a``); the names of the file itself, which is MXNet's (``res4b5_branch2a``), are understood too.

Levels are stages 3, 4 and 5 as the next stage's first block normalises them, and stage 7 after ``bn7``: conv3 to conv6
in the literature.

Differences: each level ends in a BatchNorm of its own that learns from the study. Levels after a ReLU have no negative
values, so all their pixels point in much the same direction and cosines between them hardly differ.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from histoproto.backbones.frozen_norm import hold_statistics
from histoproto.contracts import FeaturePyramid, LoadedWeights
from histoproto.normalise import Normalise
from histoproto.weights import initialise

LICENCE = "trained on ImageNet, which is for non-commercial research"
HEADS = ("fc8.", "linear1000", "arg:linear1000")
"""Prefixes of classification heads in published files."""


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first may stride, and may have another dilation than those behind it."""

    number: int
    """Stage 4 holds the blocks ``b4``, ``b4_1``, …"""
    widths: tuple[int, ...]
    """Outputs of a block's convolutions: two of 3×3, or three of 1×1, 3×3 and 1×1."""
    blocks: int = 1
    stride: int = 1
    dilation: int = 1
    first_dilation: int | None = None
    """Dilation of the first 3×3 convolution of the stage; None for that of the others."""
    dropout: float = 0.0
    """Share of channels dropped before the last two convolutions of a bottleneck while training."""


STAGES = (
    Stage(2, (128, 128), blocks=3, stride=2),
    Stage(3, (256, 256), blocks=3, stride=2),
    Stage(4, (512, 512), blocks=6, stride=2),
    Stage(5, (512, 1024), blocks=3, dilation=2, first_dilation=1),
    Stage(6, (512, 1024, 2048), dilation=4, dropout=0.3),
    Stage(7, (1024, 2048, 4096), dilation=4, dropout=0.5),
)
STEM = 64
"""Channels of the first convolution."""
LEVELS = ("b4", "b5", "b6")
"""Blocks whose normalised input is a level; the last level follows ``bn7``."""


class Block(nn.Module):
    """A residual block that normalises before it convolves.

    Args:
        inputs: channels that come in.
        widths: outputs of each convolution.
        stride: of the first convolution, and of the shortcut.
        dilations: of each convolution.
        dropout: share of channels dropped before each convolution but the first.
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], stride: int, dilations: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        kernels = (3, 3) if len(widths) == 2 else (1, 3, 1)
        self.branches = ("branch2a", "branch2b1", "branch2b2")[: len(widths)]
        shapes = zip(self.branches, pairwise((inputs, *widths)), kernels, dilations, strict=True)
        for branch, (before, after), kernel, dilation in shapes:
            self.add_module(f"bn_{branch}", nn.BatchNorm2d(before))
            convolution = nn.Conv2d(
                before, after, kernel, stride, padding=kernel // 2 * dilation, dilation=dilation, bias=False
            )
            self.add_module(f"conv_{branch}", convolution)
            if branch == self.branches[0] and (inputs, stride) != (widths[-1], 1):
                self.conv_branch1 = nn.Conv2d(inputs, widths[-1], 1, stride, bias=False)
            stride = 1
        self.dropout = nn.Dropout2d(dropout)

    def forward(
        self, x: Float[Tensor, "batch inputs height width"]
    ) -> tuple[Float[Tensor, "batch outputs _height _width"], Float[Tensor, "batch inputs height width"]]:
        """Return the block's output, and its input as the block sees it: normalised, none negative."""
        seen = relu(self.get_submodule("bn_branch2a")(x))
        shortcut = self.conv_branch1(seen) if hasattr(self, "conv_branch1") else x
        y = self.get_submodule("conv_branch2a")(seen)
        for branch in self.branches[1:]:
            y = self.dropout(relu(self.get_submodule(f"bn_{branch}")(y)))
            y = self.get_submodule(f"conv_{branch}")(y)
        return shortcut + y, seen


class Trunk(nn.Module):
    """The layers that a published file holds, under its names.

    Args:
        stem: channels of the first convolution.
        stages: stages 2 to 7.
    """

    def __init__(self, stem: int, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.conv1a = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.blocks: list[str] = []
        inputs = stem
        for stage in stages:
            for index in range(stage.blocks):
                first = stage.dilation if index or stage.first_dilation is None else stage.first_dilation
                dilations = (first, stage.dilation) if len(stage.widths) == 2 else (1, stage.dilation, 1)
                name = f"b{stage.number}_{index}" if index else f"b{stage.number}"
                block = Block(inputs, stage.widths, 1 if index else stage.stride, dilations, stage.dropout)
                self.add_module(name, block)
                self.blocks.append(name)
                inputs = stage.widths[-1]
        self.bn7 = nn.BatchNorm2d(inputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return four maps, finest first, none negative."""
        x = self.conv1a(x)
        levels = []
        for name in self.blocks:
            x, seen = self.get_submodule(name)(x)
            if name in LEVELS:
                levels.append(seen)
        return [*levels, relu(self.bn7(x))]


class ResNet38d(FeaturePyramid):
    """Levels of 256, 512, 1024 and 4096 channels at strides 4, 8, 8 and 8.

    Args:
        normalise: input normalisation; ImageNet's where None.
        frozen_norm: whether the trunk's BatchNorm keeps its running statistics while everything else trains.
        stem: channels of the first convolution.
        stages: stages 2 to 7.
    """

    def __init__(
        self,
        normalise: Normalise | None = None,
        frozen_norm: bool = False,
        stem: int = STEM,
        stages: Sequence[Stage] = STAGES,
    ) -> None:
        super().__init__()
        width = {stage.number: stage.widths[-1] for stage in stages}
        self.channels = (width[3], width[4], width[5], width[7])
        self.strides = (4, 8, 8, 8)
        self.normalise = normalise or Normalise()
        self.frozen_norm = frozen_norm
        self.trunk = Trunk(stem, stages)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in self.channels)
        self.train()

    def train(self, mode: bool = True) -> "ResNet38d":
        """Set the mode of everything but a frozen BatchNorm."""
        super().train(mode)
        if self.frozen_norm:
            hold_statistics(self.trunk)
        return self

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return four maps, finest first, of any sign."""
        levels = self.trunk(self.normalise(images))
        return [norm(level) for norm, level in zip(self.norms, levels, strict=True)]


def resnet38d(
    weights: str | None = None,
    normalise: Normalise | None = None,
    frozen_norm: bool | None = None,
    stem: int = STEM,
    stages: Sequence[Stage] = STAGES,
) -> tuple[ResNet38d, LoadedWeights]:
    """Build the wide ResNet38.

    Args:
        weights: a state dict under AffinityNet's or MXNet's names, made of the ImageNet file that the literature starts
            from, ``ilsvrc-cls_rna-a1_cls1000_ep-0001.params``; or none.
        normalise: input normalisation; None for ImageNet's.
        frozen_norm: as for ``ResNet38d``; None freezes what was loaded, as random weights have no statistics to keep.
        stem: channels of the first convolution, for files of the same form.
        stages: stages 2 to 7, for files of the same form.

    Raises:
        WeightsError: if the weights cannot be read or do not fit.
    """
    network = ResNet38d(normalise, stem=stem, stages=stages)
    loaded = initialise(network.trunk, weights, rename=_own_names, ignore=HEADS, licence=LICENCE)
    network.frozen_norm = bool(loaded.tensors) if frozen_norm is None else frozen_norm
    return network.train(), loaded


_MXNET = re.compile(r"(?:arg:|aux:)?(res|bn)(\d)(?:a|b(\d+))_(branch\w+?)_([a-z]+|moving_[a-z]+)")
_OUTSIDE = re.compile(r"(?:arg:|aux:)?(conv1a|bn7)_([a-z]+|moving_[a-z]+)")
_TENSORS = {"beta": "bias", "gamma": "weight", "moving_mean": "running_mean", "moving_var": "running_var"}


def _own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_own_name(name): tensor for name, tensor in tensors.items()}


def _own_name(name: str) -> str:
    """Return AffinityNet's name for MXNet's: ``arg:bn4b5_branch2b1_beta`` is ``b4_5.bn_branch2b1.bias``."""
    if found := _OUTSIDE.fullmatch(name):
        layer, tensor = found.groups()
        return f"{layer}.{_TENSORS.get(tensor, tensor)}"
    if found := _MXNET.fullmatch(name):
        kind, stage, number, branch, tensor = found.groups()
        block = f"b{stage}_{number}" if number else f"b{stage}"
        return f"{block}.{'conv' if kind == 'res' else 'bn'}_{branch}.{_TENSORS.get(tensor, tensor)}"
    return name
