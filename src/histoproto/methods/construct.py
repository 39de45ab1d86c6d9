"""ConStruct: structural distillation of foundation models for prototypes (MIDL 2026, arXiv 2512.10316).

A student, usually a frozen vision transformer, gives levels ``F_k``; a small adapter makes them spatially coherent,
which it learns from the relations between the pixels of a frozen teacher ``G_k``. Prototypes ``P`` (T, D) start from
sentences about each class, or at random, and learn:

    R_k      = F_k + conv1x1(gelu(norm(dwconv3x3(gelu(norm(conv1x1(F_k)))))))          adapter
    A(X)     = cosines between all pixels of X
    L_struct = mean_k MSE(A(R_k), A(G_k))                                              relational distillation
    S(p, t)  = s cos(R_cam(p), MLP(P_t))                                               similarity maps, s learnable
    M(p, n)  = max over the prototypes t of class n of S(p, t)                         class maps
    L_cls    = BCE(sigmoid(mean_p M(p, n) + b_n), y_n)                                 b_n learnable
    f, g     = encoder(b M X), encoder((1 - b)(1 - M) X)       b: M >= delta max M, with M stretched to [0, 1]
    L_fg     = -log sum_{t of n} e^{f.P_t/T} / (sum_t e^{f.P_t/T} + sum_{m in memory of g} e^{f.m/T})
    L_bg     = -log sum_{t not of n} e^{g.P_t/T} / sum_t e^{g.P_t/T};     L_sim = L_fg + L_bg
    L        = L_cls + 1.5 L_struct + 0.2 L_sim

Shapes: B images, C classes, T prototypes in all, D prototype dimension, (h, w) a level's size.

Differences
-----------
The full text was not at hand; abstract, released code and descriptions were. ``form="corrected"`` against the released
code, of which the first four make two of its three terms dead:

* The student's level that the class maps see follows every level of the teacher. The released code guides one level
  and predicts from another, so L_struct trains an adapter that the prediction never uses.
* L_sim reaches the prototypes and, through the frozen encoder, the class maps. The released one runs the encoder
  without gradient and detaches the prototypes: it is a constant.
* Class maps come from the last level with cells of at most 16 px: 14x14 at 224 px instead of 7x7.
* The teacher always is in evaluation mode. The released ``train()`` wakes its stochastic depth; that alone is not
  reproduced by ``form="released"``, since it cannot reach the prediction.
* A background that may hold a class, because the image does, is no negative for that class; the memory starts empty
  instead of full of random vectors.
* What the remembered features share is taken off all features. It is most of their length (cosines near 1 for a
  convolutional encoder), so a crop resembled every remembered background more than any prototype, whatever it showed.
* The foreground threshold is taken over each class's map, not over all maps of the image; maps are stretched to [0, 1]
  before they weight the image; each class has a bias; averages over pairs are taken within an image first.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize, pad

from histoproto.bounded import encode_bounded, require_group
from histoproto.cams.regions import cut_regions, threshold
from histoproto.cams.scores import minmax, upsample
from histoproto.contracts import (
    ClassMaps,
    FeaturePyramid,
    Method,
    MethodSettings,
    MovingEncoder,
    MovingPyramid,
    Parts,
    StepOutput,
)
from histoproto.errors import ConfigError
from histoproto.losses.infonce import infonce, similarity_logits
from histoproto.losses.pairs import draw_pairs, mean_within_images
from histoproto.losses.relational import relational_distillation
from histoproto.prototypes.grouping import counts_per_class, membership
from histoproto.prototypes.memory import FeatureMemory
from histoproto.prototypes.projection import PrototypeProjection
from histoproto.prototypes.similarity import cosine_maps

COARSEST_CAM_CELL_PX = 16  # 14x14 cells at 224 px


@dataclass(frozen=True)
class ConStructSettings(MethodSettings):
    """Settings of the method; training settings live with the loop."""

    cam_level: int | None = None
    """Level that the class maps come from, from 0, finest first; None for the last with cells of at most 16 px."""
    guidance_levels: tuple[int, ...] = (2,)
    """k of L_struct: levels of the teacher. Each guides the level of the class maps; as released, the student's level
    of the same number."""
    scale: float = 1 / 0.07
    """Start value of the learnable s."""
    prototype_dim: int = 512
    """D where neither text nor encoder dictates it."""
    structure_weight: float = 1.5
    """Weight of L_struct."""
    similarity_weight: float = 0.2
    """Weight of L_sim."""
    foreground_fraction: float = 0.5
    """alpha: threshold of the foreground mask relative to the map's maximum."""
    temperature: float = 0.07
    """T of InfoNCE."""
    memory_size: int = 2048
    """Backgrounds of past batches that L_fg remembers."""
    max_pairs: int | None = None
    """At most so many (image, class) pairs of a batch pass the encoder, drawn at random; None takes all."""
    crops_at_once: int = 16
    """Crops of which the encoder keeps what gradients need; those of more are encoded a second time for them."""
    form: Literal["corrected", "released"] = "corrected"
    """Repaired losses and maps, or those of the authors' code; see *Differences* in the module's docstring."""

    def __post_init__(self) -> None:
        """Check the size of groups."""
        require_group(self.crops_at_once)


class StructureAdapter(nn.Module):
    """``x + conv1x1(gelu(norm(dwconv3x3(gelu(norm(conv1x1(x)))))))``, BatchNorm for norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.BatchNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """Return adapted features ``R_k``."""
        adapted: Tensor = x + self.net(x)
        return adapted


class ConStruct(Method):
    """Learnable prototypes on an adapted level, whose relations follow a teacher."""

    def __init__(self, parts: Parts, settings: ConStructSettings) -> None:
        """Build the method.

        Args:
            parts: student, number of classes, and as far as they are there: encoder of L_sim, teacher of L_struct,
                prototypes to start from (else drawn from a normal distribution).
            settings: all numbers.

        Raises:
            ConfigError: if settings and parts do not fit together.
        """
        super().__init__()
        self.settings = settings
        self.unit_maps = settings.form == "released"
        self.counts = counts_per_class(settings.prototypes_per_class, parts.classes)
        self.backbone = parts.backbone
        self.encoder = parts.encoder if settings.similarity_weight else None
        self.teacher = parts.teacher if settings.structure_weight and settings.guidance_levels else None
        self.cam_level = _cam_level(settings, parts.backbone)
        self.pairs = _guidance(settings, self.cam_level, len(parts.backbone.channels), parts.teacher)
        self.used = sorted({self.cam_level, *(level for level, _ in self.pairs)})
        self.adapters = nn.ModuleList(StructureAdapter(parts.backbone.channels[level]) for level in self.used)
        own_dim = settings.prototype_dim if self.encoder is None else self.encoder.dim
        start = parts.prototypes.vectors if parts.prototypes else torch.randn(sum(self.counts), own_dim)
        dim = start.shape[1]
        if self.encoder is not None and self.encoder.dim != dim:
            raise ConfigError(
                f"the prototypes have {dim} numbers, but the encoder's vectors {self.encoder.dim}, so that the "
                "similarity loss cannot compare them; take the encoder that the prototypes come from, or --encoder none"
            )
        self.prototypes = nn.Parameter(start.clone())
        self.projection = PrototypeProjection(dim, parts.backbone.channels[self.cam_level])
        self.scale = nn.Parameter(torch.tensor([settings.scale]))
        self.biases = nn.Parameter(torch.zeros(parts.classes)) if settings.form == "corrected" else None
        self.memory: FeatureMemory | None = None
        if self.encoder is not None:
            random = settings.form == "released"
            self.memory = FeatureMemory(settings.memory_size, dim, parts.classes, random_start=random)
        self._backgrounds: tuple[Tensor, Tensor] | None = None  # of the last step, on their way to the memory
        self.register_buffer("membership", membership(self.counts), persistent=False)
        self.membership: Tensor  # (C, T)

    # ---- forward

    def adapted_levels(self, images: Float[Tensor, "batch 3 height width"]) -> dict[int, Tensor]:
        """Return ``R_k``, shape ``(B, channels_k, h_k, w_k)``, of each level that is used."""
        features = self.backbone(images)
        return {level: adapter(features[level]) for level, adapter in zip(self.used, self.adapters, strict=True)}

    def _similarity(self, pixels: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch prototypes h w"]:
        """Return ``S = s cos(R_cam, MLP(P))``."""
        with torch.autocast(pixels.device.type, enabled=False):
            return self.scale * cosine_maps(pixels.float(), self.projection(self.prototypes))

    def _merged(self, similarity: Float[Tensor, "batch prototypes h w"]) -> Float[Tensor, "batch classes h w"]:
        """Return ``M``, the strongest prototype of each class."""
        return torch.stack([own.amax(1) for own in torch.split(similarity, list(self.counts), dim=1)], dim=1)

    def _with_bias(self, maps: Float[Tensor, "batch classes h w"]) -> Float[Tensor, "batch classes h w"]:
        return maps if self.biases is None else maps + self.biases[:, None, None]

    def class_maps(self, images: Float[Tensor, "batch 3 height width"]) -> ClassMaps:
        """Return class maps; see the base class."""
        maps = self._merged(self._similarity(self.adapted_levels(images)[self.cam_level]))
        if self.settings.form == "released":
            return ClassMaps(upsample(minmax(maps.relu()), (images.shape[-2], images.shape[-1])), maps)
        return ClassMaps(self._with_bias(maps), self._with_bias(maps))

    def prototype_maps(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch prototypes _h _w"]:
        """Return the cosines with each prototype; see the base class."""
        return self._similarity(self.adapted_levels(images)[self.cam_level]) / self.scale

    # ---- losses

    def training_step(
        self, images: Float[Tensor, "batch 3 height width"], labels: Float[Tensor, "batch classes"], step: int
    ) -> StepOutput:
        """Return ``L = L_cls + 1.5 L_struct + 0.2 L_sim`` of one batch; see the base class."""
        adapted = self.adapted_levels(images)
        maps = self._merged(self._similarity(adapted[self.cam_level]))
        classification = binary_cross_entropy_with_logits(self._with_bias(maps).mean((-2, -1)), labels)
        terms = {"classification": classification}
        if step >= self.settings.warmup_steps:
            if self.teacher is not None:
                terms["structure"] = self._structure_loss(images, adapted)
            if self.encoder is not None:
                # the released code runs all of this without gradient
                with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.form == "corrected"):
                    terms["similarity"] = self._similarity_loss(images, labels, maps)
        zero = classification.new_zeros(())
        loss = (
            classification
            + self.settings.structure_weight * terms.get("structure", zero)
            + self.settings.similarity_weight * terms.get("similarity", zero)
        )
        return StepOutput(loss, {name: term.detach() for name, term in terms.items()})

    def after_step(self, step: int) -> None:
        """Remember the step's backgrounds; let a moving encoder and a moving teacher follow the backbone."""
        if self.memory is not None and self._backgrounds is not None:
            self.memory.push(*self._backgrounds)
            self._backgrounds = None
        if isinstance(self.encoder, MovingEncoder):
            self.encoder.update(self.backbone, step)
        if isinstance(self.teacher, MovingPyramid):
            self.teacher.update(self.backbone, step)

    def _structure_loss(self, images: Tensor, adapted: dict[int, Tensor]) -> Tensor:
        """Return ``L_struct``."""
        assert self.teacher is not None
        with torch.no_grad():
            taught = self.teacher(images)
        with torch.autocast(images.device.type, enabled=False):
            losses = [
                relational_distillation(adapted[level].float(), taught[guide].float()) for level, guide in self.pairs
            ]
        return torch.stack(losses).mean()

    def _similarity_loss(self, images: Tensor, labels: Tensor, maps: Tensor) -> Tensor:
        """Return ``L_sim = L_fg + L_bg`` of the labelled (image, class) pairs."""
        released = self.settings.form == "released"
        image, column = draw_pairs((labels > 0).nonzero(), self.settings.max_pairs).unbind(1)  # (pairs,), (pairs,)
        if not len(image):  # a batch without labels says nothing
            return maps.sum() * 0.0
        weights = upsample(maps if released else minmax(maps), (images.shape[-2], images.shape[-1]))
        mask = threshold(weights, self.settings.foreground_fraction, over_image=released)
        regions = cut_regions(images[image], weights[image, column], mask[image, column])
        assert self.encoder is not None and self.memory is not None
        features = encode_bounded(self.encoder, torch.cat(regions), self.settings.crops_at_once).float()  # (2 pairs, D)
        own = self.membership[column]  # (pairs, T)
        with torch.autocast(images.device.type, enabled=False):
            shown = features if released else normalize(features, dim=1) - self.memory.shared()
            foreground, background = similarity_logits(shown, self.prototypes, self.settings.temperature).chunk(2)
            attracted = self._foreground_loss(shown[: len(image)], foreground, own, column)
            per_pair = attracted + infonce(background, ~own)  # (pairs,)
        others = (labels[image] > 0).scatter(1, column[:, None], False)  # what the background may hold
        self._backgrounds = (features[len(image) :].detach(), others & (not released))
        return per_pair.mean() if released else mean_within_images(per_pair, image)

    def _foreground_loss(self, features: Tensor, logits: Tensor, own: Tensor, column: Tensor) -> Tensor:
        """Return ``L_fg`` per pair: InfoNCE to the class's prototypes, with remembered backgrounds as negatives."""
        assert self.memory is not None
        past, holds = self.memory.read()  # (filled, D), (filled, C)
        if self.settings.form == "corrected":
            past = past - self.memory.shared()
        remembered = similarity_logits(features, past, self.settings.temperature)  # (pairs, filled)
        remembered = remembered.masked_fill(holds[:, column].T, -torch.inf)
        return infonce(torch.cat([logits, remembered], dim=1), pad(own, (0, len(past))))


def _cam_level(settings: ConStructSettings, student: FeaturePyramid) -> int:
    """Return the level of the class maps."""
    levels = range(len(student.strides))
    fine = [level for level in levels if student.strides[level] <= COARSEST_CAM_CELL_PX]
    chosen = settings.cam_level if settings.cam_level is not None else max(fine, default=None)
    if chosen is None or chosen not in levels or (settings.form == "corrected" and chosen not in fine):
        raise ConfigError(
            f"class maps from level {chosen} of a backbone with cells of {', '.join(map(str, student.strides))} px; "
            f"set model.cam_level to one with cells of at most {COARSEST_CAM_CELL_PX} px, counted from 0"
        )
    return chosen


def _guidance(
    settings: ConStructSettings, cam: int, levels: int, teacher: FeaturePyramid | None
) -> list[tuple[int, int]]:
    """Return pairs of the student's and the teacher's level."""
    released = settings.form == "released"
    pairs = [(guide if released else cam, guide) for guide in settings.guidance_levels]
    guides = levels if teacher is None else len(teacher.channels)
    if teacher is not None and any(level >= levels or not 0 <= guide < guides for level, guide in pairs):
        raise ConfigError(
            f"guidance_levels {settings.guidance_levels}, but the teacher has levels 0 to {guides - 1} and the student "
            f"0 to {levels - 1}; choose among these"
        )
    return pairs
