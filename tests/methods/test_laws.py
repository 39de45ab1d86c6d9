"""What holds for every method under every preset; its facts stand in `law_cases`."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_model, save_model

from histoproto.errors import ConfigError
from histoproto.frozen import Pretrained
from histoproto.presets.registry import METHODS
from histoproto.training.optimizer import make_optimizer
from tests.methods.law_cases import CLASSES, FACTS, all_cases, batch

ALIVE = 5e-4
"""Size of a term's gradient, at weight one, against that of the class loss, that tells living terms (seen: 4e-3 and
above) from dead ones (5e-5 and below)."""
SIDE_PX = 128
"""A soft-max over the pixels of too small a map would not be as dead as it is in earnest."""

every_case = pytest.mark.parametrize("case", all_cases(), ids=str)


def test_every_method_has_its_facts_in_the_table_of_the_laws():
    assert set(FACTS) == set(METHODS)


# ---- terms and gradients


def gradients(case, reference, **model):
    """Gradient of one training step's loss by parameter, and what the encoder was shown, if anything."""
    method, parts = case.build(case.settings(**model))
    own = method.state_dict()
    method.load_state_dict({name: value for name, value in reference.state_dict().items() if name in own})
    shown = []
    if parts.encoder is not None:
        parts.encoder.register_forward_pre_hook(lambda _module, inputs: shown.append(_watched(inputs[0])))
    method.train()
    torch.manual_seed(5)
    output = method.training_step(*batch(SIDE_PX, SIDE_PX), step=0)
    output.loss.backward()
    found = {
        name: weight.grad if weight.grad is not None else torch.zeros_like(weight)
        for name, weight in method.named_parameters()
    }
    return found, shown


def _watched(images):
    if images.requires_grad:
        images.retain_grad()
    return images


def used_by_maps(method):
    """Names of the trainable weights that class maps depend on."""
    method.zero_grad(set_to_none=True)
    maps = method.eval().class_maps(batch(SIDE_PX, SIDE_PX)[0]).maps
    (maps * torch.randn_like(maps)).sum().backward()
    used = {name for name, weight in method.named_parameters() if weight.grad is not None and weight.grad.any()}
    method.zero_grad(set_to_none=True)
    assert used, "the class maps of this draw are constant; take another seed in law_cases"
    return used


def size(found, names):
    return torch.cat([found[name].flatten() for name in sorted(names)]).norm().item()


@every_case
def test_each_declared_term_alone_moves_weights_that_the_class_maps_depend_on(case):
    method, _ = case.build()
    declared = method.train().training_step(*batch(), step=0).terms
    facts, used = case.facts, used_by_maps(method)
    classification, _ = gradients(case, method, **facts.silent)
    scale = size(classification, used)
    assert scale > 0, "classification"
    for term in set(declared) - {"classification"}:
        together, shown = gradients(case, method, **{**facts.silent, **facts.terms[term]})
        alone = {name: together[name] - classification[name] for name in used}
        reached = [images.grad is not None and bool(images.grad.any()) for images in shown]
        if term in case.dead:
            assert size(alone, used) < ALIVE * scale, term
            assert not any(reached), term
        else:
            assert size(alone, used) >= ALIVE * scale, term
            assert all(reached), f"{term} does not reach what the frozen encoder looks at"


@every_case
def test_the_table_of_the_laws_names_every_term_that_the_method_declares(case):
    method, _ = case.build()
    declared = set(method.train().training_step(*batch(), step=0).terms)
    assert declared <= set(case.facts.terms)
    assert case.dead <= declared


@every_case
def test_frozen_parts_stay_as_they_are_and_in_evaluation_mode(case):
    settings = case.settings()
    method, parts = case.build(settings)
    frozen = [part for part in (parts.encoder, parts.teacher) if part is not None]
    frozen += [parts.backbone] if settings.backbone.frozen else []
    networks = [network for part in frozen for network in (part, *_outside(part))]
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in networks]
    method.eval()
    method.train()
    awake = [
        type(module).__name__
        for network in networks
        for module in network.modules()
        if module.training and not list(module.children()) and not isinstance(module, Pretrained)
    ]
    assert awake == []
    optimizer = make_optimizer(method, settings.training)
    weights = {name: weight.detach().clone() for name, weight in method.named_parameters() if weight.requires_grad}
    method.training_step(*batch(), step=0).loss.backward()
    optimizer.step()
    for network, then in zip(networks, before, strict=True):
        assert not any(weight.requires_grad for weight in network.parameters())
        for name, value in network.state_dict().items():
            assert torch.equal(value, then[name]), name
    assert any(not torch.equal(weight, weights[name]) for name, weight in method.named_parameters() if name in weights)


def _outside(part):
    return [module.network for module in part.modules() if isinstance(module, Pretrained)]


# ---- class maps


@every_case
def test_class_maps_are_finite_and_lie_on_a_grid_of_whole_cells_over_the_image(case):
    method, parts = case.build()
    images, _ = batch(64, 96)
    with torch.inference_mode():
        seen = method.eval().class_maps(images)
        prototypes = method.prototype_maps(images)
    assert len(method.counts) == CLASSES
    for maps, rows in ((seen.maps, CLASSES), (seen.score_maps, CLASSES), (prototypes, sum(method.counts))):
        assert maps.isfinite().all()
        assert maps.shape[:2] == (4, rows)
        cells = (64 / maps.shape[2], 96 / maps.shape[3])
        assert cells[0] == cells[1]
        assert cells[0] in {1, *parts.backbone.strides}
    assert seen.scores.shape == (4, CLASSES)
    assert prototypes.abs().max() <= 1 + 1e-5
    if method.unit_maps:
        assert seen.maps.min() >= 0
        assert seen.maps.max() <= 1 + 1e-5


@every_case
def test_what_changes_at_the_top_right_changes_the_maps_at_the_top_right(case):
    method, _ = case.build()
    images = batch(SIDE_PX, SIDE_PX)[0][:1]
    changed = images.clone()
    changed[..., :32, 96:] = 1 - changed[..., :32, 96:].round()
    with torch.no_grad():
        method.eval()
        both = torch.cat([images, changed])
        for maps in (method.class_maps(both).maps, method.class_maps(both).score_maps, method.prototype_maps(both)):
            moved = (maps[0] - maps[1]).abs().sum(0)
            half = moved.shape[-1] // 2
            quarters = [moved[:half, :half], moved[:half, half:], moved[half:, :half], moved[half:, half:]]
            assert max(range(4), key=lambda index: quarters[index].sum().item()) == 1


@every_case
def test_class_maps_of_images_in_another_order_are_the_same_maps_in_that_order(case):
    method, _ = case.build()
    images, order = batch()[0], torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        straight, turned = method.eval().class_maps(images), method.class_maps(images[order])
        torch.testing.assert_close(turned.maps, straight.maps[order], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(turned.score_maps, straight.score_maps[order], atol=1e-5, rtol=1e-4)


@every_case
def test_images_are_rgb_and_a_bgr_backbone_turns_them_around(case):
    images = batch()[0] * torch.tensor([0.9, 0.5, 0.1])[:, None, None]  # reddish
    maps = {}
    for order in ("rgb", "bgr"):
        settings = case.settings()
        settings = replace(settings, backbone=replace(settings.backbone, order=order))
        method = case.build(settings)[0].eval()
        with torch.no_grad():
            maps[order] = method.class_maps(images).maps, method.class_maps(images.flip(1)).maps
    torch.testing.assert_close(maps["bgr"][1], maps["rgb"][0])
    torch.testing.assert_close(maps["bgr"][0], maps["rgb"][1])
    assert (maps["rgb"][0] - maps["rgb"][1]).abs().max() > 1e-3 * maps["rgb"][0].abs().max()


@every_case
def test_a_method_that_was_saved_and_loaded_gives_the_same_maps(case, tmp_path):
    method, other = case.build()[0], case.build(draw=1)[0]
    images, labels = batch()
    method.train().training_step(images, labels, step=0)  # so that running statistics have moved
    save_model(method, str(tmp_path / "model.safetensors"))
    load_model(other, tmp_path / "model.safetensors")
    with torch.no_grad():
        expected, found = method.eval().class_maps(images), other.eval().class_maps(images)
        torch.testing.assert_close(found.maps, expected.maps, atol=0, rtol=0)
        torch.testing.assert_close(found.score_maps, expected.score_maps, atol=0, rtol=0)
        torch.testing.assert_close(other.prototype_maps(images), method.prototype_maps(images), atol=0, rtol=0)
    assert len(other.prototypes) == sum(other.counts)


# ---- odd cases


def assert_trains(method, labels):
    method.train()
    output = method.training_step(batch()[0], labels, step=0)
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(term.isfinite() for term in output.terms.values())
    assert all(weight.grad.isfinite().all() for weight in method.parameters() if weight.grad is not None)
    method.after_step(0)
    with torch.no_grad():
        assert method.eval().class_maps(batch()[0]).maps.isfinite().all()


@every_case
def test_one_prototype_per_class_works(case):
    method, _ = case.build(case.settings(prototypes_per_class=1))
    assert method.counts == (1,) * CLASSES
    assert_trains(method, batch()[1])


@every_case
def test_a_batch_without_any_positive_label_works(case):
    assert_trains(case.build()[0], torch.zeros(4, CLASSES))


@every_case
def test_the_losses_of_a_batch_do_not_depend_on_the_order_of_its_images(case):
    images, labels = batch()
    order = torch.tensor([2, 0, 3, 1])
    straight = case.build()[0].train().training_step(images, labels, step=0)
    turned = case.build()[0].train().training_step(images[order], labels[order], step=0)
    torch.testing.assert_close(turned.loss, straight.loss, atol=1e-5, rtol=1e-4)
    assert turned.terms.keys() == straight.terms.keys()
    for name, term in straight.terms.items():
        torch.testing.assert_close(turned.terms[name], term, atol=1e-5, rtol=1e-4)


# ---- memory


@every_case
def test_a_step_is_the_same_however_many_crops_pass_the_encoder_at_once(case):
    if not hasattr(case.settings().model, "crops_at_once"):
        return  # it shows the encoder no crops
    with pytest.raises(ConfigError, match="crops_at_once is 0, but must be at least 1"):
        case.settings(crops_at_once=0)
    reference, _ = case.build()
    expected, shown = gradients(case, reference, crops_at_once=99)
    found, groups = gradients(case, reference, crops_at_once=2)
    assert [len(crops) for crops in shown] != [len(crops) for crops in groups]
    assert max(len(crops) for crops in groups) == 2
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
