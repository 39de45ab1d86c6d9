import pytest
import torch

from histoproto.backbones.frozen_pyramid import FrozenPyramid
from histoproto.backbones.mobilenet import mobilenet_v2
from histoproto.backbones.registry import build_backbone
from histoproto.backbones.small_conv import small_conv
from histoproto.contracts import MethodSettings, Parts
from histoproto.errors import ConfigError
from histoproto.methods.cam import CAM
from histoproto.methods.gradcam import GradCAM, GradCAMSettings
from histoproto.presets import cam, gradcam, lpd

CLASSES = 3


def pyramid():
    torch.manual_seed(0)
    return small_conv(widths=(8, 12, 16, 24))[0]


def plain():
    return CAM(pyramid(), CLASSES, MethodSettings())


def grad(level, backbone=None):
    return GradCAM(backbone or pyramid(), CLASSES, GradCAMSettings(level=level))


def batch():
    return torch.rand(4, 3, 32, 48), torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])


def drawn(method):
    """Give weights that a trained method could have."""
    with torch.no_grad():
        method.prototypes.normal_()
        method.biases.normal_()
    return method.eval()


def test_the_map_of_a_class_is_its_weight_vector_times_the_features_plus_its_bias():
    method, images = drawn(plain()), batch()[0]
    features = method.backbone(images)[-1]
    by_hand = features[1, :, 1, 2] @ method.prototypes[2] + method.biases[2]
    torch.testing.assert_close(method.class_maps(images).maps[1, 2, 1, 2], by_hand)


def test_pooling_maps_gives_the_scores_of_a_linear_layer_on_pooled_features():
    method, images = drawn(plain()), batch()[0]
    pooled = method.backbone(images)[-1].mean((-2, -1))
    expected = pooled @ method.prototypes.T + method.biases
    torch.testing.assert_close(method.class_maps(images).scores, expected)


def test_an_untrained_head_says_about_one_half_for_every_class():
    method = plain()
    loss = method.training_step(*batch(), step=0).loss
    assert loss.item() == pytest.approx(0.693, abs=0.05)
    assert method.eval().prototype_maps(batch()[0]).abs().max() < 0.2


def test_cam_learns_which_of_two_colours_is_there_and_where():
    torch.manual_seed(1)
    method = CAM(pyramid(), 2, MethodSettings()).train()
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    for step in range(25):
        labels = torch.tensor([[1.0, 0], [0, 1.0], [1, 1]]).repeat(2, 1)
        images = torch.rand(6, 3, 32, 32) * 0.3
        images[labels[:, 0] > 0, 0, :, :16] += 0.7
        images[labels[:, 1] > 0, 2, :, 16:] += 0.7
        optimizer.zero_grad()
        method.training_step(images, labels, step).loss.backward()
        optimizer.step()
    both = torch.zeros(1, 3, 64, 64)
    both[:, 0, :, :32] = both[:, 2, :, 32:] = 0.8
    maps = method.eval().class_maps(both).maps[0]
    assert (maps[0] > maps[1])[:, 0].all()
    assert (maps[1] > maps[0])[:, -1].all()


def test_grad_cam_of_the_last_level_is_cam():
    cam_method, gradcam_method, images = drawn(plain()), grad(-1), batch()[0]
    gradcam_method.load_state_dict(cam_method.state_dict())
    expected, found = cam_method.class_maps(images), gradcam_method.eval().class_maps(images)
    torch.testing.assert_close(found.maps, expected.maps, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.score_maps, expected.score_maps)


def test_grad_cam_of_an_inner_level_weights_its_channels_by_the_slopes_of_the_score():
    method, images = drawn(grad(1)), batch()[0].double()
    method.double()
    inner = method.backbone(images)[1].detach()
    rest = torch.nn.Sequential(*method.backbone.stages[2:])

    def score(level):
        return rest(level).mean((-2, -1))[2] @ method.prototypes[0] + method.biases[0]

    step = 1e-5
    slope = []
    for channel in range(inner.shape[1]):  # moving a whole channel adds up the slopes of its pixels
        moved = inner.clone()
        moved[2, channel] += step
        back = inner.clone()
        back[2, channel] -= step
        slope.append((score(moved) - score(back)) / (2 * step))
    by_hand = torch.einsum("dhw,d->hw", inner[2], torch.stack(slope)) + method.biases[0]
    torch.testing.assert_close(method.class_maps(images).maps[2, 0], by_hand, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("frozen", [False, True])
def test_grad_cam_works_where_gradients_are_switched_off_and_on_a_frozen_backbone(switched_off, frozen):
    backbone = FrozenPyramid(pyramid(), pretrained=False) if frozen else pyramid()
    method = drawn(grad(-2, backbone))
    expected = method.class_maps(batch_seen := batch()[0]).maps.detach()
    with switched_off():
        seen = batch_seen * 1.0  # made inside, as by the code that cuts tiles
        found = method.class_maps(seen)
        assert not found.maps.requires_grad
        assert found.maps.shape == (4, CLASSES, 2, 3)
        torch.testing.assert_close(found.maps, expected)
    assert all(weight.grad is None for weight in method.parameters())


@pytest.mark.parametrize("name", ["small-conv", "mit-b0", "timm:test_resnet", "timm:test_efficientnet"])
def test_grad_cam_follows_an_inner_level_of(name):
    method = drawn(grad(-2, build_backbone(name)[0]))
    assert method.class_maps(torch.rand(2, 3, 64, 64)).maps.std() > 0


def test_a_level_that_leads_nowhere_is_refused_in_the_first_step_and_the_last_one_always_works():
    backbone = mobilenet_v2()[0]  # each of its levels ends in a norm of its own
    with pytest.raises(ConfigError, match=r"set model\.level to -1"):
        grad(-2, backbone).training_step(torch.rand(2, 3, 64, 64), torch.ones(2, CLASSES), 0)
    assert drawn(grad(-1, backbone)).class_maps(torch.rand(2, 3, 64, 64)).maps.isfinite().all()


@pytest.mark.parametrize(
    ("entry", "settings", "sentence"),
    [
        (cam.build, MethodSettings(prototypes_per_class=2), "prototypes_per_class to 1"),
        (gradcam.build, GradCAMSettings(prototypes_per_class=2), "prototypes_per_class to 1"),
        (gradcam.build, GradCAMSettings(level=4), "the backbone has 4 levels"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_a_sentence(entry, settings, sentence):
    from dataclasses import replace

    preset = cam.CORRECTED if entry is cam.build else gradcam.CORRECTED
    with pytest.raises(ConfigError, match=sentence):
        entry(Parts(pyramid(), CLASSES), replace(preset, model=settings))


@pytest.mark.parametrize("entry", [cam.ENTRY, gradcam.ENTRY])
def test_the_baseline_trains_as_the_method_that_it_is_compared_with(entry):
    baseline = entry.presets["corrected"]
    for part in ("backbone", "training", "augment", "inference", "patch_px"):
        assert getattr(baseline, part) == getattr(lpd.CORRECTED, part), part
