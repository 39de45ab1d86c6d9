"""Our backbones as encoders of segmentation-models-pytorch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from segmentation_models_pytorch.encoders import encoders as registry
from torch import Tensor, nn

from histoproto.contracts import FeaturePyramid
from histoproto.errors import ConfigError

NAME = "histoproto"
DETAIL_CHANNELS = 16


class PyramidEncoder(nn.Module):
    """A feature pyramid as the library wants it: the image, then one map for each halving.

    Of several levels at one stride the last counts. A stride of 2 that the pyramid lacks is filled by a
    convolution of its own, since a decoder draws borders from what it sees there.

    Args:
        pyramid: normalises its own input.

    Raises:
        ConfigError: if a stride between 4 and the coarsest is missing.
    """

    def __init__(self, pyramid: FeaturePyramid) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.places = {stride: index for index, stride in enumerate(pyramid.strides)}
        coarsest = max(pyramid.strides)
        self.strides = [2**power for power in range(1, coarsest.bit_length())]
        missing = [stride for stride in self.strides[1:] if stride not in self.places]
        if missing or self.strides[-1] != coarsest:
            raise ConfigError(
                f"this backbone has levels at strides {', '.join(map(str, pyramid.strides))}, but a segmenter needs "
                "one at each of 4, 8, 16, ..; choose another --encoder"
            )
        detailed = 2 not in self.places
        self.detail = (
            nn.Sequential(
                nn.Conv2d(3, DETAIL_CHANNELS, 3, 2, padding=1, bias=False), nn.BatchNorm2d(DETAIL_CHANNELS), nn.ReLU()
            )
            if detailed
            else None
        )
        fine = DETAIL_CHANNELS if detailed else pyramid.channels[self.places[2]]
        self.out_channels = [3, fine, *(pyramid.channels[self.places[stride]] for stride in self.strides[1:])]
        self.output_stride = coarsest

    def set_in_channels(self, channels: int, pretrained: bool = True) -> None:
        """Do nothing: images have three channels; the library asks every encoder."""

    def make_dilated(self, output_stride: int) -> None:
        """Accept an architecture that wants its coarsest map at ``output_stride``, if it is no coarser already.

        Raises:
            ConfigError: if it is.
        """
        if self.output_stride > output_stride:
            raise ConfigError(
                f"this architecture needs features at stride {output_stride}, but the backbone's coarsest are at "
                f"{self.output_stride}; choose --arch unet, or an encoder of "
                "segmentation-models-pytorch such as --encoder smp:resnet50"
            )

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return the image and one map per halving."""
        levels = self.pyramid(images)
        maps = [levels[self.places[stride]] for stride in self.strides[1:]]
        fine = levels[self.places[2]] if self.detail is None else self.detail(images)
        return [images, fine, *maps]


@contextmanager
def registered(encoder: PyramidEncoder) -> Iterator[str]:
    """Make an encoder known to the library under the yielded name while a network is built on it."""

    def build(**_options: Any) -> PyramidEncoder:
        return encoder

    registry[NAME] = {"encoder": build, "pretrained_settings": {}, "params": {}}
    try:
        yield NAME
    finally:
        del registry[NAME]
