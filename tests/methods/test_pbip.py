from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from histoproto.backbones.small_conv import small_conv
from histoproto.contracts import Prototypes
from histoproto.encoders.backbone_mean import BackboneEncoder
from histoproto.encoders.self_average import SelfEncoder
from histoproto.errors import ConfigError
from histoproto.methods.pbip import PBIP
from histoproto.presets.pbip import CORRECTED, PAPER, RELEASED

WIDTHS = (8, 12, 16, 24)
COUNTS = (3, 2, 1)
PRESETS = {entry.preset: replace(entry.model, warmup_steps=0) for entry in (CORRECTED, PAPER, RELEASED)}


def bank(counts=COUNTS, dim=24):
    vectors = torch.rand(sum(counts), dim, generator=torch.Generator().manual_seed(3))
    return Prototypes(normalize(vectors, dim=1), counts)


def make(preset="corrected", encoder=True, counts=COUNTS, **changes):
    torch.manual_seed(0)
    backbone = small_conv(widths=WIDTHS)[0]
    frozen = BackboneEncoder(small_conv(widths=WIDTHS)[0]) if encoder else None
    return PBIP(backbone, frozen, bank(counts), replace(PRESETS[preset], **changes))


def batch(count=4):
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])[:count]
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)), labels


def moved(method):
    return {name for name, weight in method.named_parameters() if weight.grad is not None and weight.grad.any()}


def predicted_from(method):
    """Names of the trainable weights that the class maps depend on."""
    method.zero_grad(set_to_none=True)
    method.eval().class_maps(batch()[0]).maps.square().sum().backward()
    names = moved(method)
    method.zero_grad(set_to_none=True)
    return names


TERMS = [
    *((preset, term) for preset in PRESETS for term in ("classification", "foreground", "background")),
    ("released", "area"),
]


@pytest.mark.parametrize(("preset", "term"), TERMS)
def test_each_declared_term_alone_moves_a_weight_that_the_prediction_uses(preset, term):
    off = {"classification_weight": 0.0, "foreground_weight": 0.0, "background_weight": 0.0, "area_weight": 0.0}
    method = make(preset, similarity_weight=1.0, **{**off, f"{term}_weight": 1.0})
    used = predicted_from(method)
    method.train().training_step(*batch(), step=0).loss.backward()
    assert moved(method) & used


@pytest.mark.parametrize("preset", PRESETS)
def test_the_loss_is_equation_six(preset):
    method = make(
        preset, similarity_weight=0.3, foreground_weight=0.7, background_weight=0.2, classification_weight=2.0
    )
    output = method.training_step(*batch(), step=0)
    terms = output.terms
    area = 5e-4 * terms["area"] if preset == "released" else 0.0
    expected = 2 * terms["classification"] + 0.3 * (0.7 * terms["foreground"] + 0.2 * terms["background"] + area)
    torch.testing.assert_close(output.loss.detach(), expected)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("head", ["similarity", "convolution"])
def test_maps_are_finite_in_every_form_and_prototype_maps_lie_between_minus_one_and_one(preset, head):
    method = make(preset, head=head, space="encoder").eval()
    maps = method.class_maps(batch()[0])
    own = method.prototype_maps(batch()[0])
    assert maps.maps.isfinite().all()
    assert maps.scores.shape == (4, 3)
    assert own.shape[1] == sum(method.counts)
    assert own.abs().max() <= 1.0001
    method.train().training_step(*batch(), step=0).loss.backward()


@pytest.mark.parametrize("preset", PRESETS)
def test_one_prototype_per_class_works(preset):
    method = make(preset, counts=(1, 1, 1))
    output = method.training_step(*batch(), step=0)
    output.loss.backward()
    assert output.loss.isfinite()
    assert ("foreground" in output.terms) == (preset != "released"), "as released, K = 1 selects nothing"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_without_labels_gives_a_finite_loss(preset):
    images, labels = batch()
    output = make(preset).training_step(images, torch.zeros_like(labels), 0)
    output.loss.backward()
    assert output.loss.isfinite()
    assert "foreground" not in output.terms


def test_only_the_class_loss_counts_during_warm_up():
    method = make(warmup_steps=10)
    assert set(method.training_step(*batch(), step=9).terms) == {"classification"}
    assert set(method.training_step(*batch(), step=10).terms) == {"classification", "foreground", "background"}


def test_prototypes_stay_as_they_are_and_are_saved():
    method = make()
    before = method.prototypes.clone()
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.1)
    method.training_step(*batch(), step=0).loss.backward()
    optimizer.step()
    assert torch.equal(method.prototypes, before)
    assert torch.equal(method.state_dict()["prototypes"], bank().vectors)


def test_the_encoder_is_in_no_checkpoint_and_does_not_train():
    method = make().train()
    assert not [name for name in method.state_dict() if name.startswith("encoder")]
    assert not [name for name, _ in method.named_parameters() if name.startswith("encoder")]
    assert not method.encoder.frozen.network.training


def test_without_encoder_the_class_loss_remains():
    assert set(make(encoder=False).training_step(*batch(), step=0).terms) == {"classification"}


def test_as_corrected_every_prototype_of_the_class_attracts_its_foreground():
    method = make(space="encoder", counts=(2, 1))
    own = torch.tensor([[True, True, False]])
    feature = method.prototypes[1:2]
    first, _ = method._contrast(torch.cat([feature, feature]), method.prototypes, own, torch.tensor([0]))
    alone, _ = method._contrast(
        torch.cat([feature, feature]), method.prototypes, torch.tensor([[False, True, False]]), torch.tensor([0])
    )
    assert first < alone


def test_as_corrected_what_all_prototypes_share_does_not_matter():
    backbone = small_conv(widths=WIDTHS)[0].eval()
    plain, shifted = bank(), Prototypes(bank().vectors + 0.7, COUNTS)
    maps = []
    for prototypes in (plain, shifted):
        torch.manual_seed(0)
        maps.append(PBIP(backbone, None, prototypes, PRESETS["corrected"]).eval().class_maps(batch()[0]).maps)
    torch.testing.assert_close(*maps, atol=1e-4, rtol=0)


def test_a_weak_class_keeps_its_own_threshold_as_corrected():
    """The released threshold is taken over the image, so a strong class empties the crop of a weak one."""
    seen = []
    method = make(foreground_fraction=0.9)
    method.encoder.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    images, labels = batch(1)
    with torch.no_grad():
        method.biases[:, 0] += 50
    method.training_step(images, labels, 0)
    foreground = seen[0][:2]
    assert (foreground.flatten(1).sum(1) > 0).all()


def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_halves():
    method = make(max_pairs=None).eval()
    images, labels = batch()
    whole = method.training_step(images, labels, 0).loss
    halves = [method.training_step(images[part], labels[part], 0).loss for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(whole, torch.stack(halves).mean())


def test_max_pairs_bounds_what_passes_the_encoder():
    method, seen = make(max_pairs=2), []
    method.encoder.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    method.training_step(*batch(), step=0)
    assert seen == [4]


def test_without_threshold_both_crops_see_every_pixel():
    method, seen = make(foreground_fraction=None, max_pairs=1), []
    method.encoder.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    images, labels = batch(1)
    method.training_step(images, labels, 0)
    torch.testing.assert_close(seen[0].sum(0), images[0], atol=1e-5, rtol=0)


def test_the_paper_has_no_learnable_scale_and_no_bias():
    method = make("paper")
    assert method.biases is None
    assert not any(head.scale.requires_grad for head in method.heads)
    assert method.used == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"level_weights": (1.0, 1.0)}, "backbone of 4 levels"),
        ({"space": "projected", "head": "convolution"}, "no projection"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_a_sentence(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make(**changes)


def test_an_encoder_that_moves_or_has_another_length_is_refused():
    backbone = small_conv(widths=WIDTHS)[0]
    with pytest.raises(ConfigError, match="stand still"):
        PBIP(backbone, SelfEncoder(backbone), bank(), PRESETS["corrected"])
    with pytest.raises(ConfigError, match="gives 24 numbers and the bank's prototypes have 20"):
        PBIP(backbone, BackboneEncoder(backbone), bank(dim=20), PRESETS["corrected"])
