"""The same training steps and the same class maps, computed plainly: fp32, crop by crop, loops in Python.

This is how the released codes compute, whatever the preset: each selected sub-class of an image has two crops of its
own, and each crop passes the encoder alone. Under ``corrected`` the crops of a class are all alike, and the mean over
them is what `histoproto` computes once.
"""

from itertools import pairwise
from math import log
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from histoproto.contracts import ClassMaps, TissueModel
from histoproto.inference.views import RELEASED_MEAN
from histoproto.methods.lpd import LPD, RELEASED_BACKGROUND_SCORE
from histoproto.methods.pbip import PBIP


class Crop(NamedTuple):
    """What the encoder says about one sub-class of one image."""

    image: int
    label: int
    column: int
    """Of the sub-class among all prototypes."""
    foreground: Tensor
    background: Tensor


def reference_step(method: PBIP | LPD, images: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of one training step after the warm-up."""
    features = method.backbone(images)
    similarities = [_similarity(method, place, features[level]) for place, level in enumerate(method.used)]
    merged = [_merged(method, place, maps) for place, maps in enumerate(similarities)]
    settings = method.settings
    loss = images.new_zeros(())
    for place, level in enumerate(method.used):
        scores = torch.stack([torch.stack([one.mean() for one in image]) for image in merged[place]])
        loss = loss + settings.level_weights[level] * binary_cross_entropy_with_logits(scores, labels)
    crops = _crops(method, images, labels, similarities[-1], merged)
    if isinstance(method, PBIP):
        similarity = _pbip_similarity(method, crops) + settings.area_weight * similarities[-1].mean()
        return settings.classification_weight * loss + settings.similarity_weight * similarity
    loss = loss + settings.similarity_weight * _lpd_similarity(method, crops)
    if settings.form == "released":
        return loss + settings.diversity_weight * _released_diversity(method, features[-1], similarities[-1])
    return loss + settings.diversity_weight * _diversity(method, labels, similarities[-1], merged[-1])


# ---- maps


def _similarity(method: PBIP | LPD, place: int, features: Tensor) -> Tensor:
    """Return one map per image and prototype."""
    if isinstance(method, PBIP):
        head = method.heads[place]
        vectors, scale, unit = head.projection(_placed(method, method.prototypes)), head.scale, head.unit  # type: ignore[operator]
    else:
        vectors, scale, unit = method.projections[place](method.prototypes), method.scales[place], True
    images = []
    for image in features:
        pixels = image / image.norm(dim=0).clamp(min=1e-8)
        maps = []
        for vector in vectors:
            direction = vector / vector.norm().clamp(min=1e-8) if unit else vector
            maps.append(scale * (pixels * direction[:, None, None]).sum(0))
        images.append(torch.stack(maps))
    return torch.stack(images)


def _placed(method: PBIP, vectors: Tensor) -> Tensor:
    if method.settings.form != "corrected":
        return vectors
    mean = method.prototypes.mean(0)
    return (vectors - mean) / (method.prototypes - mean).square().mean().sqrt()


def _merged(method: PBIP | LPD, place: int, maps: Tensor) -> Tensor:
    """Return one map per image and class: the mean over its prototypes, with the class's bias."""
    images = []
    for image in maps:
        classes = []
        for label, columns in enumerate(_columns(method)):
            bias = 0.0 if method.biases is None else method.biases[place, label]
            classes.append(sum(image[column] for column in columns) / len(columns) + bias)
        images.append(torch.stack(classes))  # type: ignore[arg-type]
    return torch.stack(images)


def _columns(method: PBIP | LPD) -> list[range]:
    starts = [sum(method.counts[:label]) for label in range(len(method.counts) + 1)]
    return [range(first, last) for first, last in pairwise(starts)]


def _stretched(one: Tensor) -> Tensor:
    return (one - one.amin()) / (one.amax() - one.amin() + 1e-7)


# ---- crops


def _crops(method: PBIP | LPD, images: Tensor, labels: Tensor, similarity: Tensor, merged: list[Tensor]) -> list[Crop]:
    """Encode foreground and background of each selected sub-class of each labelled class, one after the other."""
    found = []
    for image in range(len(images)):
        for label, columns in enumerate(_columns(method)):
            scores = [float(similarity[image, column].detach().mean()) for column in columns]
            for column, score in zip(columns, scores, strict=True):
                if labels[image, label] > 0 and score > sum(scores) / len(scores):
                    pair = _regions(method, images, image, label, column, similarity, merged)
                    foreground, background = (method.encoder(one[None])[0] for one in pair)  # type: ignore[misc]
                    found.append(Crop(image, label, column, foreground, background))
    return found


def _regions(
    method: PBIP | LPD,
    images: Tensor,
    image: int,
    label: int,
    column: int,
    similarity: Tensor,
    merged: list[Tensor],
) -> tuple[Tensor, Tensor]:
    picture = images[image]
    released, pbip = method.settings.form == "released", isinstance(method, PBIP)
    size = (picture.shape[-2], picture.shape[-1])
    fraction = method.settings.foreground_fraction
    assert fraction is not None

    def enlarged(maps: Tensor) -> Tensor:
        return interpolate(maps[None], size=size, mode="bilinear", align_corners=released or not pbip)[0]

    if released:
        every = enlarged(similarity[image])
        weight, peak = every[column], every.amax()
    else:
        weight = _class_map(method, image, label, similarity, merged)
        weight = enlarged(_stretched(weight)[None])[0]
        peak = weight.amax()
    inside = (weight >= fraction * peak).float()
    bright, dark = weight * picture, (1 - weight) * picture
    if released and pbip:
        bright = torch.stack([_stretched(channel) for channel in bright])
        dark = torch.stack([_stretched(channel) for channel in dark])
    return inside * bright, (1 - inside) * dark


def _class_map(method: PBIP | LPD, image: int, label: int, similarity: Tensor, merged: list[Tensor]) -> Tensor:
    if isinstance(method, LPD):
        columns = _columns(method)[label]
        return torch.stack([similarity[image, column] for column in columns]).mean(0)
    weights = [method.settings.fusion_weights[level] for level in method.used]
    used = [(maps[image, label], weight) for maps, weight in zip(merged, weights, strict=True) if weight]
    size = used[0][0].shape
    total = torch.zeros(size)
    for one, weight in used:
        total = total + weight * interpolate(one[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    return total / sum(weight for _, weight in used)


# ---- losses


def _cosines(feature: Tensor, prototypes: Tensor) -> Tensor:
    return torch.stack([feature @ vector / (feature.norm() * vector.norm()) for vector in prototypes])


def _infonce(logits: Tensor, own: list[int]) -> Tensor:
    attracted = torch.stack([logits[column] for column in own]).logsumexp(0)
    return logits.logsumexp(0) - attracted


def _within_images(crops: list[Crop], losses: list[Tensor]) -> Tensor:
    """Return the mean over images of the mean over classes of the mean over sub-classes."""
    images: dict[int, dict[int, list[Tensor]]] = {}
    for crop, loss in zip(crops, losses, strict=True):
        images.setdefault(crop.image, {}).setdefault(crop.label, []).append(loss)
    per_image = [
        torch.stack([torch.stack(of_class).mean() for of_class in classes.values()]).mean()
        for classes in images.values()
    ]
    return torch.stack(per_image).mean()


def _pbip_similarity(method: PBIP, crops: list[Crop]) -> Tensor:
    settings = method.settings
    prototypes = _placed(method, method.prototypes)

    def logits(feature: Tensor) -> Tensor:
        return _cosines(_placed(method, feature / feature.norm()), prototypes) / settings.temperature

    if settings.form == "released":
        foreground, background = _released_ratios([(logits(c.foreground), logits(c.background), c) for c in crops])
    else:
        columns = _columns(method)
        others = [[k for k in range(len(prototypes)) if k not in columns[crop.label]] for crop in crops]
        fore = [_infonce(logits(crop.foreground), list(columns[crop.label])) for crop in crops]
        back = [_infonce(logits(crop.background), rest) for crop, rest in zip(crops, others, strict=True)]
        foreground, background = _within_images(crops, fore), _within_images(crops, back)
    return settings.foreground_weight * foreground + settings.background_weight * background


def _released_ratios(found: list[tuple[Tensor, Tensor, Crop]]) -> tuple[Tensor, Tensor]:
    """Return the two ratios over the whole batch of the released PBIP."""
    own, everything = [], []
    matching, straying = [], []
    for fore, back, crop in found:
        own.append(fore[crop.column])
        everything += list(fore)
        rest = [value for column, value in enumerate(back) if column != crop.column]
        matching += [value - log(len(rest)) for value in rest]
        straying.append(back[crop.column])
    first = torch.stack(everything).logsumexp(0) - torch.stack(own).logsumexp(0)
    second = torch.stack(matching + straying).logsumexp(0) - torch.stack(matching).logsumexp(0)
    return first, second


def _lpd_similarity(method: LPD, crops: list[Crop]) -> Tensor:
    settings, total, losses = method.settings, len(method.prototypes), []
    for crop in crops:
        own = [crop.column] if settings.form == "released" else list(_columns(method)[crop.label])
        rest = [column for column in range(total) if column not in own]
        fore = _cosines(crop.foreground, method.prototypes) / settings.temperature
        back = _cosines(crop.background, method.prototypes) / settings.temperature
        losses.append(_infonce(fore, own) + _infonce(back, rest))
    return torch.stack(losses).mean() if settings.form == "released" else _within_images(crops, losses)


def _diversity(method: LPD, labels: Tensor, similarity: Tensor, merged: Tensor) -> Tensor:
    temperature, per_image = method.settings.temperature, []
    for image in range(len(labels)):
        present = [label for label in range(labels.shape[1]) if labels[image, label] > 0]
        winner = torch.tensor(present)[merged[image, present].argmax(0)]
        values = []
        for label in present:
            region = winner == label
            if int(region.sum()) < 2:
                values.append(torch.zeros(()))
                continue
            views = [similarity[image, k][region] / method.scales[-1] for k in _columns(method)[label]]
            values.append(_likeness([(view / temperature).softmax(0) for view in views], half=0.5))
        per_image.append(torch.stack(values).mean())
    return torch.stack(per_image).mean()


def _released_diversity(method: LPD, features: Tensor, similarity: Tensor) -> Tensor:
    values = []
    for image in range(len(features)):
        classes = [torch.stack([similarity[image, k] for k in columns]).mean(0) for columns in _columns(method)]
        shifted = torch.stack([torch.full_like(classes[0], RELEASED_BACKGROUND_SCORE), *classes]).argmax(0)
        for label, columns in enumerate(_columns(method)):
            pixels = features[image][:, shifted == label].T
            if len(pixels):
                views = [
                    torch.stack([_cosines(pixel, method.prototypes[[k]])[0] for pixel in pixels]).softmax(0).softmax(0)
                    for k in columns
                ]
                values.append(_likeness(views, half=1.0))
    return torch.stack(values).mean() if values else features.sum() * 0.0


def _likeness(views: list[Tensor], half: float) -> Tensor:
    """Return the mean over pairs of the exponential of minus their divergence."""
    pairs = []
    for first in range(len(views)):
        for second in range(first + 1, len(views)):
            u, v = views[first], views[second]
            pairs.append((-half * ((u - v) * (u.log() - v.log())).sum()).exp())
    return torch.stack(pairs).mean()


# ---- evaluation


def reference_maps(model: TissueModel, image: Tensor) -> ClassMaps:
    """Return class maps averaged over the six released views, one pass after the other, behind one for the scores."""
    with torch.no_grad():
        scores = model.class_maps(image[None]).score_maps
        mean, maps = RELEASED_MEAN[:, None, None], []
        for contrast in (0.9, 1.0, 1.1):
            for mirrored in (False, True):
                view = mean + contrast * (image - mean)
                one = model.class_maps((view.flip(-1) if mirrored else view)[None]).maps[0]
                maps.append(one.flip(-1) if mirrored else one)
        return ClassMaps(torch.stack(maps).mean(0)[None], scores)
