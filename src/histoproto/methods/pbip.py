"""PBIP: prototype-based image prompting (CVPR 2025, arXiv 2503.12068).

Prototypes ``P`` (classes n, sub-classes k; dim) stand still: each is the mean feature of the patches nearest to a
cluster's centre, seen by a frozen encoder phi (Eq. 1, ``histoproto bank``). Level ``i`` of the backbone gives ``F_i``.

ClassNet. A perceptron carries the prototypes to the level's channels, ``P_i = MLP_i(P)``, and (``prototypes/heads``)

    M_i(p, n) = mean over k of  s_i cos(F_i(p), P_i(n, k))                                                  (2)
    y_i(n)    = mean over pixels p of M_i(p, n)
    L_CLS     = sum_i w_i BCE(sigmoid(y_i), y)                                                           (7, 8)

ImgMatchNet. For each class j of an image X, with b its thresholded map (``cams/regions``, ``losses``)

    M'   = sum_i v_i Up(M_i)                                                                                (3)
    b    = [M >= delta max M]                                                                               (4)
    X_FG = b M X,    X_BG = (1 - b) (1 - M) X                                                               (5)
    L_FGS  phi(X_FG) to the prototypes of j, away from the others                                       (9, 10)
    L_BGS  phi(X_BG) to the prototypes of the others, away from j                                      (11, 12)
    L_SIM  = theta_1 L_FGS + theta_2 L_BGS                                                                 (13)
    L      = alpha L_CLS + beta L_SIM                                                                       (6)

Shapes: B images, C classes, T prototypes in all, D prototype dimension, (h, w) a level's size.

Differences
-----------
``form="paper"`` prints Eqs. 9-12 as they stand. The paper does not say how ``M'``, a sum of cosines, becomes the
weight in [0, 1] that Eq. 5 needs; here each map is stretched by its minimum and maximum. ``form="corrected"`` adds:

* InfoNCE per (image, class) with every prototype of the class as a positive; Eq. 10 compares a sum over K with a sum
  over (C - 1) K similarities, so the larger side wins whatever the crop shows. Averages are taken within an image
  first, so that the loss of a batch is the mean of the losses of its halves on two devices.
* A learnable scale per level and a bias per class: a bare cosine cannot reach a probability below 0.27 or above 0.73.
* L_SIM compares in the encoder's own space. Projected by the trained MLP_i (paper), crops and prototypes can be
  brought together without any better mask; unprojected, the mask is all that L_SIM can change.
* The prototypes' mean is taken off prototypes and crop features alike: it may be most of their length (released
  file: mean cosine 0.73 across classes), and what is left tells classes apart.

``form="released"`` keeps the defects of the authors' code: projected prototypes are not normalised; crops come from
the raw logits of the last level per sub-class, stretched per channel; the threshold is taken over all maps of the
image; only sub-classes above their class's mean count, none where K = 1; other prototypes of the same class repel;
each loss is one ratio over the batch; 0.0005 times the mean map is added. Its encoder was never loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, one_hot

from histoproto.bounded import encode_bounded, require_group
from histoproto.cams.fusion import fuse_levels, weighted_mean
from histoproto.cams.regions import cut_regions, cut_stretched_regions, threshold
from histoproto.cams.scores import minmax, upsample
from histoproto.contracts import (
    ClassMaps,
    FeaturePyramid,
    ImageEncoder,
    Method,
    MethodSettings,
    MovingEncoder,
    Prototypes,
    StepOutput,
)
from histoproto.errors import ConfigError
from histoproto.losses.classification import multi_level_bce
from histoproto.losses.infonce import infonce, similarity_logits
from histoproto.losses.pairs import draw_pairs, mean_within_images
from histoproto.losses.pbip import printed_background, printed_foreground, released_background, released_foreground
from histoproto.prototypes.grouping import expand_labels, membership, merge_mean, merge_softmax
from histoproto.prototypes.heads import ConvolutionHead, SimilarityHead


@dataclass(frozen=True)
class PBIPSettings(MethodSettings):
    """Settings of the method; those of its image bank are arguments of ``histoproto bank``."""

    prototypes_per_class: int | tuple[int, ...] = 3
    """K: the bank decides and is written here."""
    level_weights: tuple[float, ...] = (0.0, 0.1, 1.0, 1.0)
    """w_i of the class loss, finest level first (Eq. 8)."""
    fusion_weights: tuple[float, ...] = (0.0, 0.0, 0.5, 0.5)
    """v_i, share of each level in the class map (Eq. 3)."""
    head: Literal["similarity", "convolution"] = "similarity"
    """Eq. 2, or a 1x1 convolution in its place (Table 5, without SIM)."""
    scale: float = 1 / 0.07
    """Start value of s_i; it trains unless the form is the paper's."""
    classification_weight: float = 1.0
    """alpha of Eq. 6."""
    similarity_weight: float = 0.1
    """beta of Eq. 6."""
    foreground_weight: float = 1.0
    """theta_1 of Eq. 13; 0 leaves L_FGS out (Table 2)."""
    background_weight: float = 1.0
    """theta_2 of Eq. 13; 0 leaves L_BGS out (Table 2)."""
    area_weight: float = 0.0
    """Factor of the mean map inside L_SIM, in the released code alone."""
    foreground_fraction: float | None = 0.5
    """delta of Eq. 4; None leaves the threshold out (Table 5, without AT)."""
    space: Literal["encoder", "projected"] = "encoder"
    """Where L_SIM compares: in the encoder's space, or after MLP_i of each level."""
    temperature: float = 0.07
    """tau of Eqs. 9 and 11."""
    max_pairs: int | None = None
    """At most so many (image, class) pairs of a batch pass the encoder, drawn at random; None takes all."""
    crops_at_once: int = 16
    """Crops of which the encoder keeps what gradients need; those of more are encoded a second time for them."""
    form: Literal["corrected", "paper", "released"] = "corrected"
    """Which losses and maps; see *Differences* in the module's docstring."""

    def __post_init__(self) -> None:
        """Check the size of groups."""
        require_group(self.crops_at_once)


class PBIP(Method):
    """Image prototypes on a feature pyramid."""

    def __init__(
        self,
        backbone: FeaturePyramid,
        encoder: ImageEncoder | None,
        prototypes: Prototypes,
        settings: PBIPSettings,
    ) -> None:
        """Build the method.

        Args:
            backbone: trained feature extractor with one level per weight.
            encoder: the frozen network that the bank was made with; None leaves L_SIM out.
            prototypes: of the image bank; they stay as they are.
            settings: all numbers.

        Raises:
            ConfigError: if settings, levels, encoder and prototypes do not fit together.
        """
        super().__init__()
        _check(settings, len(backbone.channels), encoder, prototypes)
        self.settings = settings
        self.unit_maps = settings.form == "released"
        self.counts = prototypes.counts
        self.backbone = backbone
        wanted = settings.similarity_weight and (settings.foreground_weight or settings.background_weight)
        self.encoder = encoder if wanted else None
        self.register_buffer("prototypes", prototypes.vectors.clone())  # (T, D), saved in checkpoints
        self.prototypes: Tensor
        self.register_buffer("membership", membership(self.counts), persistent=False)
        self.membership: Tensor  # (C, T)
        weights = zip(settings.level_weights, settings.fusion_weights, strict=True)
        self.used = [level for level, pair in enumerate(weights) if any(pair)]
        self.heads = nn.ModuleList(self._head(backbone.channels[level]) for level in self.used)
        biases = nn.Parameter(torch.zeros(len(self.used), len(self.counts)))
        self.biases = biases if settings.form == "corrected" else None

    def _head(self, channels: int) -> SimilarityHead | ConvolutionHead:
        (total, dim), form = self.prototypes.shape, self.settings.form
        if self.settings.head == "convolution":
            return ConvolutionHead(total, channels)
        return SimilarityHead(dim, channels, self.settings.scale, learn_scale=form != "paper", unit=form != "released")

    # ---- ClassNet

    def similarity_maps(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return Eq. 2 before the mean over k, shape ``(B, T, h_i, w_i)``, of each level that is used."""
        features = self.backbone(images)
        prototypes = self._placed(self.prototypes)  # (T, D)
        with torch.autocast(images.device.type, enabled=False):
            pairs = zip(self.used, self.heads, strict=True)
            return [head(features[level].float(), prototypes) for level, head in pairs]  # (B, T, h_i, w_i)

    def _placed(self, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
        """Return unit vectors as they are; in ``corrected`` without what all prototypes share, entries of size one."""
        if self.settings.form != "corrected" or len(self.prototypes) == 1:
            return vectors
        shared = self.prototypes.mean(0)
        return (vectors - shared) / (self.prototypes - shared).square().mean().sqrt().clamp(min=1e-8)

    def _merged(self, similarities: Sequence[Tensor]) -> list[Tensor]:
        """Return ``M_i``, one map per class and level, ``(B, C, h_i, w_i)``; its mean is the class's score."""
        merged = [merge_mean(level, self.counts) for level in similarities]  # (2)
        if self.biases is None:
            return merged
        return [level + bias[:, None, None] for level, bias in zip(merged, self.biases, strict=True)]

    def _fused(self, levels: Sequence[Tensor]) -> Tensor:
        return fuse_levels(levels, self._fusion)  # (3)

    @property
    def _fusion(self) -> list[float]:
        return [self.settings.fusion_weights[level] for level in self.used]

    def class_maps(self, images: Float[Tensor, "batch 3 height width"]) -> ClassMaps:
        """Return fused class maps; see the base class."""
        similarities = self.similarity_maps(images)
        if self.settings.form == "released":
            size = (images.shape[-2], images.shape[-1])
            merged = [merge_softmax(level, self.counts) for level in similarities]
            evidence = [upsample(minmax(level.relu()), size) for level in merged]
            return ClassMaps(weighted_mean(evidence, self._fusion), merge_mean(similarities[-1], self.counts))
        fused = self._fused(self._merged(similarities))
        return ClassMaps(fused, fused)

    def prototype_maps(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch prototypes _height _width"]:
        """Return the cosines of the last used level; see the base class."""
        maps: Tensor = self.heads[-1].cosines(self.backbone(images)[self.used[-1]], self._placed(self.prototypes))  # type: ignore[operator]  # every head has it
        return maps

    # ---- losses

    def training_step(
        self, images: Float[Tensor, "batch 3 height width"], labels: Float[Tensor, "batch classes"], step: int
    ) -> StepOutput:
        """Return ``L = alpha L_CLS + beta L_SIM`` of one batch (Eq. 6); see the base class."""
        chosen = self.settings
        similarities = self.similarity_maps(images)
        merged = self._merged(similarities)
        weights = [chosen.level_weights[level] for level in self.used]
        classification = multi_level_bce([level.mean((-2, -1)) for level in merged], labels, weights)  # (7), (8)
        terms = {"classification": classification}
        if step >= chosen.warmup_steps and chosen.similarity_weight:
            if self.encoder is not None:
                terms |= self._matching(images, labels, similarities[-1], merged)
            if chosen.area_weight:
                terms["area"] = similarities[-1].mean()
        zero = classification.new_zeros(())
        similarity = (
            chosen.foreground_weight * terms.get("foreground", zero)
            + chosen.background_weight * terms.get("background", zero)
            + chosen.area_weight * terms.get("area", zero)
        )  # (13)
        loss = chosen.classification_weight * classification + chosen.similarity_weight * similarity  # (6)
        return StepOutput(loss, {name: term.detach() for name, term in terms.items()})

    def _matching(self, images: Tensor, labels: Tensor, last: Tensor, merged: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return L_FGS and L_BGS over the labelled (image, class) pairs, or (image, prototype) pairs as released."""
        released = self.settings.form == "released"
        maps = last if released else minmax(self._fused(merged))  # (B, C or T, h, w)
        wanted = self._released_pairs(last, labels) if released else labels > 0
        image, column = draw_pairs(wanted.nonzero(), self.settings.max_pairs).unbind(1)  # (pairs,), (pairs,)
        if not len(image):
            return {}  # a batch without labels says nothing
        maps = interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=released)
        fraction = self.settings.foreground_fraction
        mask = None if fraction is None else threshold(maps, fraction, over_image=released)[image, column]  # (4)
        cut = cut_stretched_regions if released else cut_regions
        regions = cut(images[image], maps[image, column], mask)  # (5)
        assert self.encoder is not None
        encoded = encode_bounded(self.encoder, torch.cat(regions), self.settings.crops_at_once)
        features = normalize(encoded.float(), dim=1)  # (2 pairs, D)
        own = one_hot(column, last.shape[1]).bool() if released else self.membership[column]  # (pairs, T)
        with torch.autocast(images.device.type, enabled=False):
            losses = torch.stack([self._contrast(*pair, own, image) for pair in self._spaces(features)])  # (spaces, 2)
        foreground, background = losses.mean(0)
        return {"foreground": foreground, "background": background}

    def _spaces(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return features and prototypes in each space where L_SIM compares: the encoder's, or that of each level."""
        features, prototypes = self._placed(features), self._placed(self.prototypes)
        if self.settings.space == "encoder":
            return [(features, prototypes)]
        return [(head.projection(features), head.projection(prototypes)) for head in self.heads]  # type: ignore[operator]  # _check

    def _contrast(self, features: Tensor, prototypes: Tensor, own: Tensor, image: Tensor) -> Float[Tensor, "2"]:
        """Return L_FGS and L_BGS of one space; ``features`` holds the foregrounds, then the backgrounds."""
        temperature = self.settings.temperature
        foreground, background = similarity_logits(features, prototypes, 1.0).chunk(2)  # cosines, (pairs, T) each
        if self.settings.form == "released":
            first = released_foreground(foreground / temperature, own)
            return torch.stack([first, released_background(background / temperature, own)])
        if self.settings.form == "paper":
            first = printed_foreground(foreground, own, temperature)  # (9), (10)
            second = printed_background(background, own, temperature)  # (11), (12)
        else:
            first, second = infonce(foreground / temperature, own), infonce(background / temperature, ~own)
        return torch.stack([mean_within_images(first, image), mean_within_images(second, image)])

    def _released_pairs(self, last: Tensor, labels: Tensor) -> Bool[Tensor, "batch prototypes"]:
        """Return labelled prototypes whose score is strictly above the mean of their class."""
        scores = last.detach().mean((-2, -1))  # (B, T)
        mean = expand_labels(merge_mean(scores, self.counts), self.counts)
        return (scores > mean) & (expand_labels(labels, self.counts) > 0)


def _check(settings: PBIPSettings, levels: int, encoder: ImageEncoder | None, prototypes: Prototypes) -> None:
    if not len(settings.level_weights) == len(settings.fusion_weights) == levels:
        raise ConfigError(
            f"{len(settings.level_weights)} level weights and {len(settings.fusion_weights)} fusion weights for a "
            f"backbone of {levels} levels; give one of each per level"
        )
    if settings.space == "projected" and settings.head == "convolution":
        raise ConfigError("head convolution has no projection to compare in; use space encoder with it")
    if isinstance(encoder, MovingEncoder):
        raise ConfigError(
            "PBIP compares crops with prototypes that stand still, so its encoder cannot follow the training; "
            "leave --encoder out, and the bank's own is taken"
        )
    if encoder is not None and encoder.dim != prototypes.vectors.shape[1]:
        raise ConfigError(
            f"the encoder gives {encoder.dim} numbers and the bank's prototypes have {prototypes.vectors.shape[1]}; "
            "leave --encoder out, and the bank's own is taken"
        )
