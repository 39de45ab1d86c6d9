"""A segmenter that learns from pseudo masks, and from the image-level labels that they came from."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, pad

from histoproto.contracts import ClassMaps, Segmenter, StepOutput, TissueModel
from histoproto.losses.absent_classes import absent_classes
from histoproto.losses.cross_entropy import pixel_cross_entropy
from histoproto.losses.dice import soft_dice
from histoproto.losses.easy_pixels import easy_pixel_cross_entropy
from histoproto.losses.generalised_cross_entropy import generalised_cross_entropy
from histoproto.losses.symmetric_cross_entropy import symmetric_cross_entropy
from histoproto.segmenters.settings import PixelLoss, SegmenterSettings


def _ce_dice(logits: Tensor, masks: Tensor) -> Tensor:
    return pixel_cross_entropy(logits, masks) + soft_dice(logits, masks)


LOSSES: dict[PixelLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": pixel_cross_entropy,
    "ce-dice": _ce_dice,
    "oeem": easy_pixel_cross_entropy,
    "symmetric-ce": symmetric_cross_entropy,
    "generalised-ce": generalised_cross_entropy,
}


class PseudoMaskSegmenter(Segmenter):
    r"""Any network from image to two maps per class: what a pixel shows, and how much it says that the class is there.

    The loss of a batch is

    .. math:: L_{mask} + w_{labels} L_{labels} + w_{absent} L_{absent}

    with the chosen loss over pixels, the binary cross-entropy of the scores, which are means of the second maps,
    against the image-level labels, and the loss that keeps absent classes from winning. The scores make the gate, as
    in the first stage.

    Online relabelling: from a stated step on, pixels take the class of the moving average of the network (Tarvainen
    and Valpola, NeurIPS 2017) among the classes of the label, where that is sure. Composed images are left alone,
    since their masks, or those of the regions pasted into them, are known by construction; so is background.

    Args:
        network: normalised images to ``(batch, 2 * classes, height, width)``.
        normalise: input normalisation, and enlargement.
        classes: number of tissue classes.
        stride_px: images are padded to multiples of this.
        settings: losses and relabelling.
        relabel_from: step at which relabelling begins.
    """

    unit_maps = False

    def __init__(
        self,
        network: nn.Module,
        normalise: nn.Module,
        classes: int,
        stride_px: int,
        settings: SegmenterSettings,
        relabel_from: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.normalise = normalise
        self.classes = classes
        self.stride_px = stride_px
        self.settings = settings
        self.relabel_from = relabel_from
        # in a tuple, so that torch does not register it: training keeps and saves it
        self._teacher: tuple[TissueModel, ...] = ()

    def taught_by(self, average: TissueModel) -> None:
        """Take the moving average as the teacher that relabels."""
        self._teacher = (average,)

    def class_maps(self, images: Float[Tensor, "batch 3 height width"]) -> ClassMaps:
        """Return logits per pixel, and score maps, at the images' own resolution."""
        height, width = images.shape[-2:]
        x = self.normalise(images)
        rows, columns = x.shape[-2:]
        below, right = -rows % self.stride_px, -columns % self.stride_px
        both = self.network(pad(x, (0, right, 0, below), mode="replicate"))[..., :rows, :columns]
        if (rows, columns) != (height, width):
            both = interpolate(both, size=(height, width), mode="bilinear", align_corners=False)
        maps, score_maps = both.split(self.classes, dim=1)
        return ClassMaps(maps, score_maps)

    def training_step(
        self,
        images: Float[Tensor, "batch 3 height width"],
        labels: Float[Tensor, "batch classes"],
        masks: Int64[Tensor, "batch height width"],
        composed: Bool[Tensor, " batch"],
        step: int,
    ) -> StepOutput:
        """Return the loss of one batch; see the contract."""
        settings = self.settings
        seen = self.class_maps(images)
        logits = seen.maps.float()
        if settings.relabel is not None and step >= self.relabel_from:
            masks = self.relabelled(images, labels, masks, composed, settings.relabel)
        mask = LOSSES[settings.loss](logits, masks)
        named = binary_cross_entropy_with_logits(seen.scores.float(), labels)
        absent = absent_classes(logits, labels > 0, masks != self.classes)
        loss = mask + settings.labels_weight * named + settings.absent_weight * absent
        terms = {"mask": mask.detach(), "labels": named.detach(), "absent": absent.detach()}
        return StepOutput(loss, terms)

    @torch.no_grad()
    def relabelled(
        self,
        images: Float[Tensor, "batch 3 height width"],
        labels: Float[Tensor, "batch classes"],
        masks: Int64[Tensor, "batch height width"],
        composed: Bool[Tensor, " batch"],
        least: float,
    ) -> Int64[Tensor, "batch height width"]:
        """Return masks in which the teacher has its way where it is at least this sure."""
        (teacher,) = self._teacher
        logits = teacher.class_maps(images).maps.float()
        shares = logits.masked_fill((labels == 0)[:, :, None, None], torch.finfo(logits.dtype).min).softmax(1)
        confidence, classes = shares.max(1)
        changed = (confidence >= least) & (masks != self.classes) & ~composed[:, None, None]
        return torch.where(changed, classes, masks)
