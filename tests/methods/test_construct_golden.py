import pytest
import torch
from torch.nn.functional import normalize

from histoproto.backbones.frozen_pyramid import FrozenPyramid
from histoproto.backbones.mit import MiT, MiTShape
from histoproto.contracts import FeaturePyramid, Parts, Prototypes
from histoproto.losses.infonce import infonce, similarity_logits
from histoproto.methods.construct import ConStruct, ConStructSettings, StructureAdapter
from histoproto.normalise import Normalise

STUDENT_MEAN, STUDENT_STD = (0.6679, 0.4779, 0.7062), (0.1737, 0.2256, 0.1982)


class GivenPyramid(FeaturePyramid):
    """A student whose levels are given."""

    def __init__(self, levels):
        super().__init__()
        self.levels = levels
        self.channels = tuple(level.shape[1] for level in levels)
        self.strides = tuple(64 // level.shape[-1] for level in levels)

    def forward(self, images):
        return self.levels


def within(weights, prefix):
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


@pytest.fixture
def numbers(golden):
    return golden("construct_network")


@pytest.fixture
def method(numbers):
    weights = within(numbers, "weights.")
    teacher = MiT(MiTShape((16, 32, 40, 64), (2, 2, 2, 2)), normalise=Normalise())
    teacher.fill(within(weights, "segformer_teacher."), "golden")
    parts = Parts(
        GivenPyramid([numbers[f"student{level}"] for level in (1, 2, 3, 4)]),
        classes=4,
        teacher=FrozenPyramid(teacher, pretrained=False),
        prototypes=Prototypes(weights["prototypes"], (2, 2, 2, 2)),
    )
    settings = ConStructSettings(prototypes_per_class=2, cam_level=3, form="released")
    method = ConStruct(parts, settings).eval()
    assert method.used == [2, 3]
    for level, adapter in zip(method.used, method.adapters, strict=True):
        adapter.load_state_dict(within(weights, f"structure_adapters.{level}."))
    method.projection.load_state_dict(within(weights, "l_fc4."))
    method.scale.data[:] = weights["logit_scale"]
    return method


@torch.no_grad()
def test_class_maps_and_scores_equal_the_released_network(method, numbers):
    seen = method.class_maps(torch.zeros(2, 3, 64, 64))
    torch.testing.assert_close(seen.score_maps, numbers["cam"], atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.scores, numbers["cls"], atol=1e-4, rtol=0)
    projected = normalize(method.projection(method.prototypes), dim=1)
    torch.testing.assert_close(projected, numbers["projected_prototypes"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_distillation_loss_equals_the_released_network(method, numbers):
    student = Normalise(STUDENT_MEAN, STUDENT_STD)
    images = numbers["image"] * student.std + student.mean  # as they were before the student's normalisation
    terms = method.training_step(images, torch.zeros(2, 4), step=0).terms
    torch.testing.assert_close(terms["structure"], numbers["distillation_loss_layer3"], atol=1e-5, rtol=0)


def test_adapter_equals_the_released_one_in_evaluation_after_a_pass_in_training(golden):
    numbers = golden("structure_adapter")
    adapter = StructureAdapter(24)
    adapter.load_state_dict(within(numbers, "weights."))
    with torch.no_grad():
        adapted = adapter.eval()(numbers["x"])
    torch.testing.assert_close(adapted, numbers["y_eval_after_one_train_step"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("suffix", "temperature"), [("", 0.07), ("_t1", 1.0)])
@pytest.mark.parametrize("side", ["fg", "bg", "fg_memory"])
def test_contrastive_terms_equal_the_released_ones(golden, side, suffix, temperature):
    numbers = golden("contrastive")
    rows = []
    remembered = numbers["memory"] if side == "fg_memory" else numbers["memory"][:0]
    for feature, own, others in zip(numbers[side[:2]], numbers["positive"], numbers["negatives"], strict=True):
        logits = similarity_logits(feature[None], torch.cat([own[None], others, remembered]), temperature)
        positive = torch.arange(logits.shape[1])[None] == 0
        rows.append(infonce(logits, ~positive if side == "bg" else positive))
    expected = numbers[f"construct_{side}{suffix}"]
    torch.testing.assert_close(torch.cat(rows).mean(), expected, atol=1e-4, rtol=1e-5)
