"""LPD: learnable prototypes with diversity regularisation (ISBI 2026, arXiv 2512.05922).

Prototypes ``P`` (classes x K, dim) are free parameters. Level ``i`` of the backbone gives features ``F_i``; a
perceptron carries the prototypes to its channels, ``P_i = MLP_i(P)``, and

    M_i(p, k) = s_i cos(F_i(p), P_i(k))                            similarity maps, s_i learnable
    y_i(n)    = mean over pixels, merged over the K of class n     pooled scores, plus a learnable b_i(n)
    L_cls     = sum_i w_i BCE(sigmoid(y_i), y)
    b         = M >= delta max M                                   M: last level's class map, stretched to [0, 1]
    f, g      = encoder(b M X), encoder((1 - b)(1 - M) X)          foreground and background of class n in image X
    L_fg      = -log sum_{k of n} e^{cos(f, P(k))/T} / sum_k e^{cos(f, P(k))/T}
    L_bg      = -log sum_{k not of n} e^{cos(g, P(k))/T} / sum_k e^{cos(g, P(k))/T}
    L_sim     = L_fg + L_bg, averaged over labelled pairs (X, n)
    V_k       = soft-max over the pixels p of class n of cos(F(p), P(k)) / T
    L_div     = mean over pairs j < k of n of exp(-KL(V_j||V_k)/2 - KL(V_k||V_j)/2)
    L         = L_cls + beta L_sim + lambda L_div

Shapes: B images, C classes, T prototypes in all, D prototype dimension, (h, w) a level's size.

Differences
-----------
The full text was not at hand; abstract, figure and code were. ``form="corrected"`` against the released code:

* L_div takes one soft-max with a temperature over the pixels of the class, on projected prototypes, inside a
  pseudo mask gated by the image's labels, with the class's own index. The released one takes the soft-max twice,
  so its gradient is about 1e-7, on raw prototypes, in a region of the class before (index off by one).
* The foreground threshold is taken over each class's map, not over all maps of the image; maps are stretched to
  [0, 1] before they weight the image (the released logits reach +-14); every labelled class of an image is used;
  other prototypes of the same class attract instead of repelling.
* Each level has a bias per class, which carries how frequent the class is; cosines alone cannot.
* Averages over (image, class) pairs are taken within an image first, so that the loss of a batch is the mean of
  the losses of its halves on two devices.
* Class maps are fused as logits, without the per-image min-max that lets an absent class reach 1.

``form="released"`` keeps all of these defects for comparison; its dense CRF is a refiner of masks (`inference.refine`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from histoproto.bounded import encode_bounded, require_group
from histoproto.cams.fusion import fuse_levels, weighted_mean
from histoproto.cams.pseudo_mask import pseudo_mask
from histoproto.cams.regions import cut_regions, threshold
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
from histoproto.losses.diversity import double_softmax_similarity, jeffreys_similarity
from histoproto.losses.infonce import infonce, similarity_logits
from histoproto.losses.pairs import draw_pairs, mean_within_images
from histoproto.prototypes.grouping import counts_per_class, expand_labels, membership, merge_mean, merge_softmax
from histoproto.prototypes.projection import PrototypeProjection
from histoproto.prototypes.similarity import cosine_maps

RELEASED_BACKGROUND_SCORE = 0.2
"""Score of background against class logits in the released diversity loss (LPD repository, `main.py`)."""


@dataclass(frozen=True)
class LPDSettings(MethodSettings):
    """Settings of the method; training settings live with the loop."""

    prototypes_per_class: int | tuple[int, ...] = 10
    """K: one number for all classes, or one per class; 1 works."""
    level_weights: tuple[float, ...] = (0.0, 0.1, 1.0, 1.0)
    """w_i of the class loss, finest level first."""
    fusion_weights: tuple[float, ...] = (0.0, 0.3, 0.3, 0.4)
    """Share of each level in the class map."""
    scale: float = 1 / 0.07
    """Start value of the learnable s_i."""
    prototype_dim: int = 512
    """D where no encoder dictates it."""
    similarity_weight: float = 0.1
    """beta."""
    diversity_weight: float = 0.5
    """lambda."""
    foreground_fraction: float = 0.5
    """Threshold of the foreground mask relative to the map's maximum."""
    temperature: float = 0.07
    """T of InfoNCE and of the diversity soft-max."""
    warmup_steps: int = 3000
    """Steps with the class loss alone."""
    max_pairs: int | None = None
    """At most so many (image, class) pairs of a batch pass the encoder, drawn at random; None takes all."""
    crops_at_once: int = 16
    """Crops of which the encoder keeps what gradients need; those of more are encoded a second time for them."""
    form: Literal["corrected", "released"] = "corrected"
    """Repaired losses and maps, or those of the authors' code; see *Differences* in the module's docstring."""

    def __post_init__(self) -> None:
        """Check the size of groups."""
        require_group(self.crops_at_once)


class LPD(Method):
    """Learnable prototypes on a feature pyramid."""

    def __init__(
        self,
        backbone: FeaturePyramid,
        encoder: ImageEncoder | None,
        classes: int,
        settings: LPDSettings,
        prototypes: Prototypes | None = None,
    ) -> None:
        """Build the method.

        Args:
            backbone: trained feature extractor with one level per weight.
            encoder: frozen network for L_sim; None leaves L_sim out.
            classes: number of tissue classes C.
            settings: all numbers.
            prototypes: where they start; None draws them from a normal distribution.

        Raises:
            ConfigError: if settings, levels and classes do not fit together.
        """
        super().__init__()
        _check_levels(settings, len(backbone.channels))
        self.settings = settings
        self.unit_maps = settings.form == "released"
        self.counts = counts_per_class(settings.prototypes_per_class, classes)
        self.backbone = backbone
        self.encoder = encoder if settings.similarity_weight else None
        start = prototypes.vectors if prototypes is not None else torch.randn(sum(self.counts), self._dim())
        dim = start.shape[1]
        self.prototypes = nn.Parameter(start.clone())
        weights = zip(settings.level_weights, settings.fusion_weights, strict=True)
        self.used = [level for level, pair in enumerate(weights) if any(pair)]
        self.projections = nn.ModuleList(PrototypeProjection(dim, backbone.channels[level]) for level in self.used)
        self.scales = nn.Parameter(torch.full((len(self.used),), settings.scale))
        self.biases = nn.Parameter(torch.zeros(len(self.used), classes)) if settings.form == "corrected" else None
        self.register_buffer("membership", membership(self.counts), persistent=False)
        self.membership: Tensor  # (C, T)
        if settings.form == "released" and settings.diversity_weight and dim != backbone.channels[-1]:
            raise ConfigError(
                f"LPD as released compares raw prototypes with the last level, but the prototypes have {dim} "
                f"numbers and the level {backbone.channels[-1]}; use a backbone of {dim} channels or preset corrected"
            )

    def _dim(self) -> int:
        return self.encoder.dim if self.encoder is not None else self.settings.prototype_dim

    # ---- forward

    def similarity_maps(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return ``M_i = s_i cos(F_i, P_i)``, shape ``(B, T, h_i, w_i)``, of each level that is used."""
        return self._similarity(self.backbone(images))

    def _similarity(self, features: Sequence[Tensor]) -> list[Tensor]:
        with torch.autocast(features[0].device.type, enabled=False):
            return [
                scale * cosine_maps(features[level].float(), projection(self.prototypes))  # (B, T, h_i, w_i)
                for level, projection, scale in zip(self.used, self.projections, self.scales, strict=True)
            ]

    def _merged(self, similarities: Sequence[Tensor]) -> list[Tensor]:
        """Return one map per class and level, ``(B, C, h_i, w_i)``; its mean is the class's score."""
        merged = [merge_mean(level, self.counts) for level in similarities]
        if self.biases is None:
            return merged
        return [level + bias[:, None, None] for level, bias in zip(merged, self.biases, strict=True)]

    def class_maps(self, images: Float[Tensor, "batch 3 height width"]) -> ClassMaps:
        """Return fused class maps; see the base class."""
        similarities = self.similarity_maps(images)
        fusion = [self.settings.fusion_weights[level] for level in self.used]
        if self.settings.form == "released":
            merged = [merge_softmax(level, self.counts) for level in similarities]
            size = (images.shape[-2], images.shape[-1])
            evidence = [upsample(minmax(level.relu()), size) for level in merged]
            return ClassMaps(weighted_mean(evidence, fusion), merge_mean(similarities[-1], self.counts))
        fused = fuse_levels(self._merged(similarities), fusion)
        return ClassMaps(fused, fused)

    def prototype_maps(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch prototypes _height _width"]:
        """Return the cosines of the last level; see the base class."""
        return self.similarity_maps(images)[-1] / self.scales[-1]

    # ---- losses

    def training_step(
        self, images: Float[Tensor, "batch 3 height width"], labels: Float[Tensor, "batch classes"], step: int
    ) -> StepOutput:
        """Return ``L = L_cls + beta L_sim + lambda L_div`` of one batch; see the base class."""
        features = self.backbone(images)
        similarities = self._similarity(features)
        merged = self._merged(similarities)
        weights = [self.settings.level_weights[level] for level in self.used]
        classification = multi_level_bce([level.mean((-2, -1)) for level in merged], labels, weights)
        terms = {"classification": classification}
        if step >= self.settings.warmup_steps:
            if self.encoder is not None:
                terms["similarity"] = self._similarity_loss(images, labels, similarities[-1])
            if self.settings.diversity_weight:
                terms["diversity"] = self._diversity_loss(features[-1].float(), labels, similarities[-1], merged[-1])
        zero = classification.new_zeros(())
        loss = (
            classification
            + self.settings.similarity_weight * terms.get("similarity", zero)
            + self.settings.diversity_weight * terms.get("diversity", zero)
        )
        return StepOutput(loss, {name: term.detach() for name, term in terms.items()})

    def after_step(self, step: int) -> None:
        """Let a moving encoder follow the backbone."""
        if isinstance(self.encoder, MovingEncoder):
            self.encoder.update(self.backbone, step)

    def _similarity_loss(self, images: Tensor, labels: Tensor, similarity: Tensor) -> Tensor:
        """Return ``L_fg + L_bg`` of the labelled (image, class) pairs, or (image, prototype) pairs as released."""
        released = self.settings.form == "released"
        maps = self._region_maps(similarity, labels)  # (B, C or T, h, w)
        chosen = self._released_pairs(similarity, labels) if released else labels > 0
        image, column = draw_pairs(chosen.nonzero(), self.settings.max_pairs).unbind(1)  # (pairs,), (pairs,)
        if not len(image):
            return similarity.sum() * 0.0  # a batch without labels says nothing
        maps = upsample(maps, (images.shape[-2], images.shape[-1]))
        mask = threshold(maps, self.settings.foreground_fraction, over_image=released)
        regions = cut_regions(images[image], maps[image, column], mask[image, column])
        assert self.encoder is not None
        features = encode_bounded(self.encoder, torch.cat(regions), self.settings.crops_at_once).float()  # (2 pairs, D)
        with torch.autocast(images.device.type, enabled=False):
            logits = similarity_logits(features, self.prototypes, self.settings.temperature)  # (2 pairs, T)
            own = self.membership[column] if not released else _one_hot(column, logits.shape[1])
            foreground, background = logits.chunk(2)
            per_pair = infonce(foreground, own) + infonce(background, ~own)  # (pairs,)
        return per_pair.mean() if released else mean_within_images(per_pair, image)

    def _region_maps(self, similarity: Tensor, labels: Tensor) -> Tensor:
        """Return the maps that weight the image: class maps in [0, 1], or raw logits per prototype as released."""
        return similarity if self.settings.form == "released" else minmax(merge_mean(similarity, self.counts))

    def _released_pairs(self, similarity: Tensor, labels: Tensor) -> Bool[Tensor, "batch prototypes"]:
        """Return labelled prototypes whose score is strictly above the mean of their class."""
        scores = similarity.detach().mean((-2, -1))  # (B, T)
        mean = expand_labels(merge_mean(scores, self.counts), self.counts)
        return (scores > mean) & (expand_labels(labels, self.counts) > 0)

    def _diversity_loss(self, pixels: Tensor, labels: Tensor, similarity: Tensor, merged: Tensor) -> Tensor:
        """Return the mean of S_J over the labelled (image, class) pairs of classes with two or more prototypes."""
        if self.settings.form == "released":
            return self._released_diversity(pixels, similarity)
        present = labels > 0
        region = pseudo_mask(merged.detach(), present)  # (B, h, w)
        cosines = torch.split(similarity / self.scales[-1], list(self.counts), dim=1)  # C x (B, K, h, w)
        per_pair = torch.stack(
            [jeffreys_similarity(own, region == index, self.settings.temperature) for index, own in enumerate(cosines)],
            dim=1,
        )  # (B, C)
        several = torch.tensor([count > 1 for count in self.counts], device=labels.device)
        counted = present & several
        return ((per_pair * counted).sum(1) / counted.sum(1).clamp(min=1)).mean()

    def _released_diversity(self, pixels: Tensor, similarity: Tensor) -> Tensor:
        """Return the inert term: raw prototypes, mask values 0 = background against class index 0 = first class."""
        merged = merge_mean(similarity.detach(), self.counts)  # (B, C, h, w)
        shifted = torch.cat([torch.full_like(merged[:, :1], RELEASED_BACKGROUND_SCORE), merged], dim=1).argmax(1)
        values = [
            double_softmax_similarity(image[:, shifted[row] == index].T, own)
            for row, image in enumerate(pixels)  # image: (D, h, w)
            for index, own in enumerate(torch.split(self.prototypes, list(self.counts)))
            if len(own) > 1 and (shifted[row] == index).any()
        ]
        return torch.stack(values).mean() if values else pixels.sum() * 0.0


def _check_levels(settings: LPDSettings, levels: int) -> None:
    if not len(settings.level_weights) == len(settings.fusion_weights) == levels:
        raise ConfigError(
            f"{len(settings.level_weights)} level weights and {len(settings.fusion_weights)} fusion weights for a "
            f"backbone of {levels} levels; give one of each per level"
        )
    if not settings.level_weights[-1]:
        raise ConfigError("the last level has weight 0, but the similarity and diversity losses look at it")


def _one_hot(columns: Tensor, width: int) -> Tensor:
    return columns[:, None] == torch.arange(width, device=columns.device)
