import pytest
import torch

from histoproto.backbones.small_conv import small_conv
from histoproto.errors import ConfigError
from histoproto.losses.diversity import jeffreys_divergence
from histoproto.methods.lpd import LPD, LPDSettings

WIDTHS = (8, 12, 16, 24)
CLASSES = 3


def make(encoder=True, **changes):
    from histoproto.encoders.self_average import SelfEncoder

    torch.manual_seed(0)
    backbone = small_conv(widths=WIDTHS)[0]
    settings = LPDSettings(**{"prototypes_per_class": 3, "warmup_steps": 0, "prototype_dim": 24, **changes})
    return LPD(backbone, SelfEncoder(backbone) if encoder else None, CLASSES, settings)


def batch(count=4):
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])[:count]
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)), labels


def predicted_from(method):
    """Names of the trainable weights that the class maps depend on."""
    method.zero_grad(set_to_none=True)
    method.eval().class_maps(batch()[0]).maps.square().sum().backward()
    names = {name for name, weight in method.named_parameters() if weight.grad is not None and weight.grad.any()}
    method.zero_grad(set_to_none=True)
    return names


@pytest.mark.parametrize("form", ["corrected", "released"])
@pytest.mark.parametrize("term", ["classification", "similarity", "diversity"])
def test_each_declared_term_moves_a_weight_that_the_prediction_uses(form, term):
    weights = {"similarity": (1.0, 0.0), "diversity": (0.0, 1.0), "classification": (0.0, 0.0)}[term]
    method = make(form=form, similarity_weight=weights[0], diversity_weight=weights[1])
    used = predicted_from(method.train())
    images, labels = batch()
    method.train()
    alone = method.training_step(images, labels, 0).loss
    without = make(form=form, similarity_weight=0.0, diversity_weight=0.0).train()
    without.load_state_dict({name: value for name, value in method.state_dict().items() if "encoder" not in name})
    if term != "classification":
        alone = alone - without.training_step(images, labels, 0).loss.detach()
    alone.backward()
    moved = {name for name, weight in method.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert moved & used
    assert moved <= used, "a weight is trained that the prediction never looks at"


def test_the_loss_is_the_weighted_sum_of_its_terms():
    method = make(similarity_weight=0.3, diversity_weight=0.7)
    output = method.training_step(*batch(), step=0)
    terms = output.terms
    expected = terms["classification"] + 0.3 * terms["similarity"] + 0.7 * terms["diversity"]
    torch.testing.assert_close(output.loss.detach(), expected)


def test_only_the_class_loss_counts_during_warm_up():
    method = make(warmup_steps=10)
    assert set(method.training_step(*batch(), step=9).terms) == {"classification"}
    assert set(method.training_step(*batch(), step=10).terms) == {"classification", "similarity", "diversity"}


@pytest.mark.parametrize("form", ["corrected", "released"])
def test_one_prototype_per_class_works(form):
    method = make(prototypes_per_class=1, form=form)
    output = method.training_step(*batch(), step=0)
    output.loss.backward()
    assert output.loss.isfinite()
    assert method.class_maps(batch()[0]).maps.shape[:2] == (4, CLASSES)


def test_a_batch_without_labels_gives_a_finite_loss():
    images, labels = batch()
    output = make().training_step(images, torch.zeros_like(labels), 0)
    output.loss.backward()
    assert output.loss.isfinite()


def test_every_weight_that_trains_gets_a_gradient():
    method = make()
    method.training_step(*batch(), step=0).loss.backward()
    idle = [name for name, weight in method.named_parameters() if weight.requires_grad and weight.grad is None]
    assert not idle


def test_the_frozen_encoder_is_not_trained_but_lets_gradient_through():
    method = make(diversity_weight=0.0, similarity_weight=100.0)
    method.training_step(*batch(), step=0).loss.backward()
    assert not any(weight.requires_grad for weight in method.encoder.parameters())
    assert next(method.backbone.parameters()).grad.any()


def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_halves():
    method = make().eval()
    images, labels = batch()
    whole = method.training_step(images, labels, 0).loss
    halves = [method.training_step(images[part], labels[part], 0).loss for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(whole, torch.stack(halves).mean())


@pytest.mark.parametrize("form", ["corrected", "released"])
def test_the_score_is_a_logit_and_the_mean_of_its_map(form):
    maps = make(form=form).eval().class_maps(batch()[0])
    torch.testing.assert_close(maps.scores, maps.score_maps.mean((-2, -1)))
    assert maps.score_maps.abs().max() > 1 or maps.score_maps.min() < 0
    if form == "released":
        assert maps.maps.min() >= 0
        assert maps.maps.max() <= 1.01


def test_class_maps_have_the_size_of_the_finest_level_that_counts():
    assert make().eval().class_maps(batch()[0]).maps.shape == (4, CLASSES, 4, 4)  # level 2 of 32 px, stride 8


def test_max_pairs_bounds_what_passes_the_encoder():
    method, seen = make(max_pairs=2), []
    method.encoder.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    method.training_step(*batch(), step=0)
    assert seen == [4]


def spread(method, images, labels):
    """Mean Jeffreys divergence between the attention of prototypes of one class, over labelled pairs."""
    method.eval()
    with torch.no_grad():
        similarity = method.similarity_maps(images)[-1] / method.scales[-1]
    method.train()
    parts = similarity.split(method.counts, dim=1)
    everywhere = torch.ones(similarity[:, 0].shape, dtype=torch.bool)
    values = torch.stack([jeffreys_divergence(part, everywhere, 0.07).mean(1) for part in parts], dim=1)
    return values[labels > 0].mean().item()


def trained(form, diversity_weight, steps=30):
    method = make(encoder=False, form=form, similarity_weight=0.0, diversity_weight=diversity_weight).train()
    optimizer = torch.optim.AdamW(method.parameters(), lr=2e-3)
    images, labels = batch()
    for step in range(steps):
        optimizer.zero_grad()
        method.training_step(images, labels, step).loss.backward()
        optimizer.step()
    return spread(method, images, labels)


def test_the_corrected_diversity_term_moves_prototypes_apart_and_the_released_one_does_not():
    without, corrected = trained("corrected", 0.0), trained("corrected", 0.5)
    released_without, released = trained("released", 0.0), trained("released", 0.5)
    assert corrected > 5 * without  # seen: 26 times
    assert abs(released - released_without) < 0.25 * released_without  # seen: 0.18, the trajectory's own wobble


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prototypes_per_class": 0}, "at least one prototype"),
        ({"prototypes_per_class": (1, 2)}, "each of the 3 classes"),
        ({"level_weights": (1.0, 1.0)}, "backbone of 4 levels"),
        ({"level_weights": (1.0, 1.0, 1.0, 0.0)}, "last level has weight 0"),
        ({"form": "released", "prototype_dim": 48}, "compares raw prototypes with the last level"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_a_sentence(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make(encoder=False, **changes)


def test_the_moving_encoder_follows_the_backbone():
    method = make()
    before = [weight.clone() for weight in method.encoder.parameters()]
    with torch.no_grad():
        for weight in method.backbone.parameters():
            weight += 0.5
    method.after_step(3)
    moved = [not torch.equal(old, new) for old, new in zip(before, method.encoder.parameters(), strict=True)]
    assert all(moved)
