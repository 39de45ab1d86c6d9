import pytest
import torch

from histoproto.backbones.small_conv import small_conv
from histoproto.contracts import FeaturePyramid
from histoproto.errors import ConfigError
from histoproto.frozen import Averaged
from histoproto.normalise import Normalise
from histoproto.segmenters.deeplab_v2 import AtrousPyramid, DeepLabV2
from histoproto.segmenters.networks import ARCHITECTURES, build_network
from histoproto.segmenters.segmenter import LOSSES, PseudoMaskSegmenter
from histoproto.segmenters.settings import SegmenterSettings
from tests.pretend_device import pretended_device

CLASSES = 3


def segmenter(arch="unet", encoder=None, zoom=1.0, **settings):
    network = build_network(arch, encoder or small_conv(widths=(8, 8, 16, 16))[0], 2 * CLASSES)
    normalise = Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), zoom=zoom)
    return PseudoMaskSegmenter(network, normalise, CLASSES, 32, SegmenterSettings(arch=arch, **settings))


def batch(side=32):
    images = torch.rand(2, 3, side, side)
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    masks = torch.stack([torch.randint(0, 2, (side, side)), torch.randint(1, 3, (side, side))])
    return images, labels, masks, torch.zeros(2, dtype=torch.bool)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("term", ["mask", "labels", "absent"])
def test_every_term_moves_a_weight_that_the_prediction_uses(loss, term):
    weights = {"labels_weight": 0.0, "absent_weight": 0.0}
    images, labels, masks, composed = batch()
    if term == "mask":
        model = segmenter(loss=loss, **weights)
    else:
        masks = torch.full_like(masks, 255)  # nothing to learn from masks
        model = segmenter(loss=loss, **weights | {f"{term}_weight": 1.0})
    before = model.eval().class_maps(images).maps
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.training_step(images, labels, masks, composed, 0).loss.backward()
    optimizer.step()
    assert not torch.allclose(model.eval().class_maps(images).maps, before, atol=1e-4)


def test_the_total_is_the_weighted_sum_of_its_terms():
    model = segmenter(labels_weight=0.3, absent_weight=0.7)
    output = model.training_step(*batch(), 0)
    terms = output.terms
    expected = terms["mask"] + 0.3 * terms["labels"] + 0.7 * terms["absent"]
    torch.testing.assert_close(output.loss.detach(), expected)


@pytest.mark.parametrize("arch", [*ARCHITECTURES, "deeplab-v2"])
def test_every_architecture_gives_maps_of_the_images_size(arch):
    encoder = "tu-vit_tiny_patch16_224" if arch == "dpt" else "resnet18"
    side = 224 if arch == "dpt" else 128
    model = segmenter(arch, encoder).eval()
    with torch.inference_mode():
        seen = model.class_maps(torch.rand(1, 3, side, side))
    assert seen.maps.shape == seen.score_maps.shape == (1, CLASSES, side, side)


@pytest.mark.parametrize("arch", ["unet", "fpn", "linknet", "unetplusplus", "manet"])
def test_our_backbones_serve_as_encoders(arch):
    assert segmenter(arch).eval().class_maps(torch.rand(1, 3, 64, 64)).maps.shape == (1, CLASSES, 64, 64)


@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_images_of_odd_sizes_keep_their_size(zoom):
    assert segmenter(zoom=zoom).eval().class_maps(torch.rand(1, 3, 37, 50)).maps.shape == (1, CLASSES, 37, 50)


def test_the_backbones_weights_are_those_that_train():
    backbone = small_conv(widths=(8, 8, 16, 16))[0]
    model = segmenter(encoder=backbone)
    model.training_step(*batch(), 0).loss.backward()
    assert all(parameter.grad is not None for parameter in backbone.stages[0].parameters())


def test_a_backbone_without_fine_levels_is_refused():
    class Coarse(FeaturePyramid):
        channels, strides = (8, 8), (8, 16)

        def forward(self, images):
            raise AssertionError

    with pytest.raises(ConfigError, match="levels at strides 8, 16"):
        build_network("unet", Coarse(), 4)


def test_an_architecture_that_needs_finer_features_than_the_backbone_has_is_refused():
    with pytest.raises(ConfigError, match="needs features at stride 8"):
        build_network("deeplab-v2", small_conv()[0], 4)


def test_deeplab_takes_the_largest_response_over_the_scales():
    class Brightness(torch.nn.Module):
        """The image's mean at stride 8, larger for smaller images."""

        def forward(self, images):
            small = images.shape[-1] < 64
            return [torch.full((1, 1, images.shape[-2] // 8, images.shape[-1] // 8), 2.0 if small else 1.0)]

    network = DeepLabV2(Brightness(), 1, 1)
    network.head = torch.nn.Identity()
    assert network(torch.rand(1, 3, 64, 64)).unique().tolist() == [2.0]


def test_the_atrous_pyramid_sees_at_its_four_rates():
    head = AtrousPyramid(1, 1)
    for branch in head.branches:
        torch.nn.init.ones_(branch.weight)
    point = torch.zeros(1, 1, 61, 61)
    point[..., 30, 30] = 1
    seen = {abs(int(column) - 30) for column in head(point)[0, 0, 30].nonzero().flatten()}
    assert seen == {0, 6, 12, 18, 24}


class Sure(torch.nn.Module):
    """Says class 2 everywhere, with a stated logit, and class 1 a little."""

    def __init__(self, logit):
        super().__init__()
        self.logit = logit

    def forward(self, images):
        maps = torch.zeros(len(images), 2 * CLASSES, *images.shape[-2:])
        maps[:, 1], maps[:, 2] = 0.5, self.logit
        return maps


def relabelled(masks, logit, least=0.9, composed=(False, False)):
    images, labels, _, _ = batch(8)
    model = segmenter(relabel=least)
    teacher = PseudoMaskSegmenter(Sure(logit), torch.nn.Identity(), CLASSES, 1, SegmenterSettings())
    model.taught_by(teacher)
    return model.relabelled(images, labels, masks, torch.tensor(composed), least)


def test_a_sure_teacher_relabels_what_the_label_allows():
    masks = torch.full((2, 8, 8), 1)
    found = relabelled(masks, logit=9.0)
    assert (found[0] == 1).all()  # class 2 is not in the label of the first image
    assert (found[1] == 2).all()


def test_an_unsure_teacher_changes_nothing():
    masks = torch.full((2, 8, 8), 255)
    assert relabelled(masks, logit=0.6).equal(masks)


def test_unknown_pixels_learn_a_class_but_background_and_mosaics_stay():
    masks = torch.full((2, 8, 8), 255)
    masks[1, :4] = CLASSES
    found = relabelled(masks, logit=9.0)
    assert (found[1, :4] == CLASSES).all()
    assert (found[1, 4:] == 2).all()
    assert relabelled(masks, logit=9.0, composed=(False, True))[1].equal(masks[1])


def test_the_teacher_is_in_no_checkpoint_and_gets_no_gradient():
    model = segmenter(relabel=0.5)
    names = set(model.state_dict())
    average = Averaged(model, 0.9)
    model.taught_by(average.network)
    assert set(model.state_dict()) == names
    model.training_step(*batch(), 0).loss.backward()
    assert all(parameter.grad is None for parameter in average.parameters())


def test_relabelling_begins_at_its_step():
    model = segmenter(relabel=0.5)
    model.relabel_from = 5
    model.taught_by(PseudoMaskSegmenter(Sure(9.0), torch.nn.Identity(), CLASSES, 1, SegmenterSettings()))
    model.eval()  # the same batch statistics
    images, labels, masks, composed = batch()
    early, late = (float(model.training_step(images, labels, masks, composed, step).loss.detach()) for step in (4, 5))
    assert early != late


@pytest.mark.parametrize("loss", LOSSES)
def test_a_segmenter_computes_on_another_device_what_it_computes_on_the_cpu(loss):
    def loss_on(device):
        torch.manual_seed(0)
        model = segmenter(loss=loss, relabel=0.5, labels_weight=0.5, absent_weight=0.5)
        average = Averaged(model, 0.9)
        model.taught_by(average.network)
        for network in (model, average):
            network.to(device)
        return model.training_step(*(tensor.to(device) for tensor in batch()), 0).loss.detach().cpu()

    with pretended_device() as device:
        there = loss_on(device)
    torch.testing.assert_close(there, loss_on(torch.device("cpu")))
