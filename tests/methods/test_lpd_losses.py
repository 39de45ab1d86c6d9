"""L_sim and L_div of LPD corrected against the same written out pair by pair."""

import math

import pytest
import torch
from torch.nn.functional import interpolate, normalize

from tests.methods.test_lpd import batch, make


def class_maps_of_the_last_level(method, images):
    similarity = method.similarity_maps(images)[-1]  # (B, T, h, w)
    return torch.stack([own.mean(1) for own in similarity.split(list(method.counts), 1)], 1)


def similarity_by_hand(method, images, labels):
    temperature, fraction = method.settings.temperature, method.settings.foreground_fraction
    owners = [c for c, count in enumerate(method.counts) for _ in range(count)]
    prototypes = normalize(method.prototypes, dim=1)
    of_images = []
    for image, present, maps in zip(images, labels, class_maps_of_the_last_level(method, images), strict=True):
        of_pairs = []
        for c in [index for index, there in enumerate(present.tolist()) if there]:
            low, high = maps[c].min(), maps[c].max()
            stretched = ((maps[c] - low) / (high - low))[None, None]
            shown = interpolate(stretched, size=image.shape[1:], mode="bilinear", align_corners=True)[0, 0]
            inside = (shown >= fraction * shown.max()).float()
            crops = torch.stack([inside * shown * image, (1 - inside) * (1 - shown) * image])
            features = normalize(method.encoder(crops), dim=1)
            likeness = torch.exp(features @ prototypes.T / temperature)
            mine = torch.tensor([owner == c for owner in owners])
            foreground = -math.log(likeness[0, mine].sum() / likeness[0].sum())
            background = -math.log(likeness[1, ~mine].sum() / likeness[1].sum())
            of_pairs.append(foreground + background)
        of_images.append(sum(of_pairs) / len(of_pairs))
    return sum(of_images) / len(of_images)


def test_the_similarity_loss_is_that_of_the_equations_pair_by_pair():
    method = make(similarity_weight=1.0, diversity_weight=0.0).eval()
    images, labels = batch()
    with torch.no_grad():
        found = method.training_step(images, labels, 0).terms["similarity"]
        assert float(found) == pytest.approx(similarity_by_hand(method, images, labels), rel=1e-4)


def test_diversity_looks_at_pixels_of_labelled_classes_alone():
    """An unlabelled class that outshines the others everywhere changes nothing: the region is gated by the labels."""
    method = make(similarity_weight=0.0, diversity_weight=1.0).eval()
    images = batch()[0]
    labels = torch.tensor([[1.0, 0, 0]]).expand(4, 3)
    with torch.no_grad():
        before = method.training_step(images, labels, 0).terms["diversity"]
        method.biases[-1, 1] += 100.0
        after = method.training_step(images, labels, 0).terms["diversity"]
    assert float(before) == pytest.approx(float(after), rel=1e-6)
