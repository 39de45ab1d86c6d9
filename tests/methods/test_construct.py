import pytest
import torch

from histoproto.backbones.frozen_pyramid import FrozenPyramid
from histoproto.backbones.moving_average import MovingAverage
from histoproto.backbones.small_conv import SmallConv
from histoproto.contracts import Parts, Prototypes
from histoproto.encoders.random_conv import RandomEncoder
from histoproto.encoders.self_average import SelfEncoder
from histoproto.errors import ConfigError
from histoproto.methods.construct import ConStruct, ConStructSettings
from histoproto.presets.construct import ENTRY
from tests.backbones.tiny_conch import tiny_conch

CLASSES = 3
DIM = 24


def parts(*, frozen=True, encoder=True, teacher="other", prototypes=None):
    """A frozen student of another kind than its teacher; the encoder sees what the class maps leave of an image."""
    torch.manual_seed(0)
    student = SmallConv((8, 12, 16, DIM))
    teachers = {
        "other": lambda: FrozenPyramid(SmallConv((4, 6, 8, 10)), pretrained=False),
        "self": lambda: MovingAverage(student),
        "none": lambda: None,
    }
    return Parts(
        FrozenPyramid(student, pretrained=False) if frozen else student,
        CLASSES,
        RandomEncoder(DIM) if encoder else None,
        teachers[teacher](),
        prototypes,
    )


def make(given=None, **changes):
    settings = ConStructSettings(**{"guidance_levels": (1, 2), "memory_size": 12, "prototype_dim": DIM, **changes})
    return ConStruct(given or parts(), settings)


def batch(count=4):
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])[:count]
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1)), labels


def moved_by(term, **changes):
    """Names of the weights that a term alone gives a gradient to, and of those that the class maps depend on."""
    given = {"structure_weight": 0.0, "similarity_weight": 0.0}
    given |= {f"{term}_weight": 1.0} if term != "classification" else {}
    method = make(**given, **changes).train()
    output = method.training_step(*batch(), step=0)
    classification = torch.nn.functional.binary_cross_entropy_with_logits
    scores = method._with_bias(method._merged(method._similarity(method.adapted_levels(batch()[0])[method.cam_level])))
    rest = classification(scores.mean((-2, -1)), batch()[1])
    alone = output.loss if term == "classification" else output.loss - rest
    gradients = torch.autograd.grad(
        alone, [weight for weight in method.parameters() if weight.requires_grad], allow_unused=True
    )
    names = [name for name, weight in method.named_parameters() if weight.requires_grad]
    size = {name: 0.0 if found is None else found.norm().item() for name, found in zip(names, gradients, strict=True)}
    method.zero_grad()
    method.class_maps(batch()[0]).score_maps.square().sum().backward()
    used = {name for name, weight in method.named_parameters() if weight.grad is not None and weight.grad.any()}
    return {name for name, norm in size.items() if norm > 1e-6}, used


@pytest.mark.parametrize("term", ["classification", "structure", "similarity"])
def test_every_term_of_the_corrected_form_moves_weights_that_the_class_maps_use_under_a_frozen_student(term):
    moved, used = moved_by(term)
    assert moved & used
    assert moved <= used
    if term == "structure":
        assert all(name.startswith("adapters.") for name in moved)
    if term == "similarity":
        assert {"prototypes", "scale"} - {"scale"} <= moved
        assert any(name.startswith("adapters.") for name in moved), "no gradient came through the class maps"


@pytest.mark.parametrize("term", ["structure", "similarity"])
def test_the_released_form_has_two_dead_terms(term):
    moved, used = moved_by(term, form="released", cam_level=3, guidance_levels=(2,), prototypes_per_class=1)
    assert not moved & used
    assert bool(moved) == (term == "structure"), "L_struct trains an adapter that nothing looks at; L_sim is constant"


def test_the_loss_is_the_weighted_sum_of_its_terms():
    output = make(structure_weight=0.3, similarity_weight=0.7).train().training_step(*batch(), step=0)
    terms = output.terms
    expected = terms["classification"] + 0.3 * terms["structure"] + 0.7 * terms["similarity"]
    torch.testing.assert_close(output.loss.detach(), expected)


@pytest.mark.parametrize(
    ("encoder", "teacher", "expected"),
    [
        (True, "other", {"classification", "structure", "similarity"}),
        (False, "other", {"classification", "structure"}),
        (True, "none", {"classification", "similarity"}),
        (False, "none", {"classification"}),
    ],
)
def test_a_term_without_its_part_is_left_out(encoder, teacher, expected):
    method = make(parts(encoder=encoder, teacher=teacher))
    assert set(method.train().training_step(*batch(), step=0).terms) == expected


def test_only_the_class_loss_counts_during_warm_up():
    method = make(warmup_steps=10)
    assert set(method.training_step(*batch(), step=9).terms) == {"classification"}
    assert set(method.training_step(*batch(), step=10).terms) == {"classification", "structure", "similarity"}


def test_class_maps_have_14_cells_a_side_at_224_px_and_7_as_released():
    images = torch.rand(1, 3, 224, 224)
    for preset, side in (("corrected", 14), ("paper", 14), ("released", 7)):
        settings = ENTRY.presets[preset]
        student = tiny_conch(released=settings.backbone.name == "conch-released")
        method = ConStruct(Parts(FrozenPyramid(student, pretrained=False), CLASSES), settings.model).eval()
        assert method.class_maps(images).score_maps.shape[-2:] == (side, side), preset


def test_a_class_is_as_strong_as_its_strongest_prototype():
    method = make(prototypes_per_class=(2, 1, 3)).eval()
    images = batch()[0]
    with torch.no_grad():
        scaled = method.prototype_maps(images) * method.scale
        maps = method.class_maps(images).maps
    expected = torch.stack([scaled[:, :2].amax(1), scaled[:, 2], scaled[:, 3:].amax(1)], dim=1)
    torch.testing.assert_close(maps, expected)


def test_the_bias_raises_a_class_everywhere():
    method = make().eval()
    with torch.no_grad():
        before = method.class_maps(batch()[0]).maps
        method.biases[1] = 2.0
        torch.testing.assert_close(
            method.class_maps(batch()[0]).maps - before, torch.tensor([0, 2.0, 0]).reshape(3, 1, 1).expand_as(before)
        )


def test_prototypes_start_where_they_are_told():
    vectors = torch.randn(CLASSES, DIM)
    method = make(parts(prototypes=Prototypes(vectors, (1, 1, 1))))
    assert torch.equal(method.prototypes, vectors)
    assert method.prototypes.requires_grad


# ---- memory


def test_backgrounds_are_remembered_after_the_step_with_the_classes_that_they_may_hold():
    method = make().train()
    images, labels = batch()
    method.training_step(images, labels, step=0)
    assert len(method.memory) == 0
    method.after_step(0)
    _, holds = method.memory.read()
    pairs = [(0, 0), (0, 2), (1, 1), (2, 0), (2, 1), (3, 2)]
    expected = [[bool(labels[image, other]) and other != own for other in range(CLASSES)] for image, own in pairs]
    assert holds.tolist() == expected
    method.after_step(1)  # a step without similarity loss has nothing to remember
    assert len(method.memory) == len(pairs)


def test_a_remembered_background_repels_only_classes_that_it_cannot_hold():
    method = make(temperature=1.0)
    feature = torch.nn.functional.normalize(torch.ones(2, DIM), dim=1)
    logits, own, column = torch.zeros(2, CLASSES), method.membership[[0, 1]], torch.tensor([0, 1])
    alone = method._foreground_loss(feature, logits, own, column)
    opposite = torch.cat([feature[:1], -feature[:1]])  # these two share nothing
    method.memory.push(opposite, torch.tensor([[True, False, False]] * 2))
    with_memory = method._foreground_loss(feature, logits, own, column)
    torch.testing.assert_close(alone, torch.tensor([3.0, 3.0]).log())
    torch.testing.assert_close(with_memory, torch.tensor([3.0, 3.0 + torch.e + 1 / torch.e]).log())


def test_what_all_features_share_does_not_count():
    method = make(temperature=1.0, memory_size=4).eval()
    tilted = torch.full((4, DIM), 50.0) + torch.eye(DIM)[:4]
    method.memory.push(tilted, torch.zeros(4, CLASSES, dtype=torch.bool))

    past = method.memory.read()[0]
    cosines = torch.nn.functional.normalize(past - method.memory.shared(), dim=1)

    assert (past @ past.T).min() > 0.99
    assert (cosines @ cosines.T)[~torch.eye(4, dtype=torch.bool)].max() < 0


def test_the_released_memory_is_full_of_random_directions_and_takes_every_background_for_a_negative():
    method = make(form="released", cam_level=3, guidance_levels=(2,)).train()
    assert len(method.memory) == 12
    method.training_step(*batch(), step=0)
    method.after_step(0)
    assert not method.memory.read()[1].any()


def test_looking_at_images_or_evaluating_a_loss_remembers_nothing():
    method = make().eval()
    with torch.no_grad():
        method.training_step(*batch(), step=0)
        method.class_maps(batch()[0])
    assert len(method.memory) == 0


def test_a_training_that_was_saved_and_loaded_goes_on_bitwise_where_it_stood():
    def stepped(method, optimizer, steps):
        for step in steps:
            torch.manual_seed(step)
            method.training_step(*batch(), step).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            method.after_step(step)

    def fresh():
        method = make(parts(frozen=False, teacher="self"), max_pairs=3).train()
        return method, torch.optim.SGD([weight for weight in method.parameters() if weight.requires_grad], lr=0.1)

    straight, resumed = fresh(), fresh()
    stepped(*straight, range(5))
    stepped(*resumed, range(3))
    saved = {name: value.clone() for name, value in resumed[0].state_dict().items()}
    again = fresh()
    again[0].load_state_dict(saved)
    stepped(*again, range(3, 5))
    assert len(straight[0].memory) == 12
    for name, value in straight[0].state_dict().items():
        assert torch.equal(value, again[0].state_dict()[name]), name


# ---- teacher


def test_a_moving_teacher_follows_the_student_and_has_no_weights_of_its_own_to_train():
    method = make(parts(frozen=False, teacher="self")).train()
    optimizer = torch.optim.SGD([weight for weight in method.parameters() if weight.requires_grad], lr=0.5)
    before = [weight.clone() for weight in method.teacher.parameters()]
    method.training_step(*batch(), step=0).loss.backward()
    optimizer.step()
    assert all(torch.equal(then, now) for then, now in zip(before, method.teacher.parameters(), strict=True))
    method.after_step(0)
    assert not all(torch.equal(then, now) for then, now in zip(before, method.teacher.parameters(), strict=True))
    assert not any(weight.requires_grad for weight in method.teacher.parameters())
    assert not any(module.training for module in method.teacher.average.modules())


def test_a_self_made_encoder_works_with_a_trained_student():
    given = parts(frozen=False, encoder=False, teacher="self")
    given = Parts(given.backbone, CLASSES, SelfEncoder(given.backbone), given.teacher)
    method = make(given).train()
    method.training_step(*batch(), step=0).loss.backward()
    assert next(method.backbone.parameters()).grad.any()
    assert not any(weight.requires_grad for weight in method.encoder.parameters())


def test_following_the_teacher_makes_the_relations_of_the_class_maps_level_those_of_the_teacher():
    method = make(parts(encoder=False)).train()
    optimizer = torch.optim.Adam(method.adapters.parameters(), lr=1e-2)
    values = []
    for step in range(25):
        optimizer.zero_grad()
        output = method.training_step(*batch(), step)
        output.loss.backward()
        optimizer.step()
        values.append(output.terms["structure"].item())
    assert values[-1] < 0.7 * values[0]


# ---- settings that do not fit


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prototypes_per_class": 0}, "at least one prototype"),
        ({"cam_level": 4}, "class maps from level 4 of a backbone with cells of 4, 8, 16, 16 px"),
        ({"cam_level": -1}, "class maps from level -1"),
        ({"guidance_levels": (4,)}, "the teacher has levels 0 to 3"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_a_sentence(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make(**changes)


def test_a_student_without_a_fine_level_is_refused_unless_as_released():
    coarse = SmallConv((4, 4, 4, 4))
    coarse.strides = (4, 8, 16, 32)
    given = Parts(coarse, CLASSES)
    with pytest.raises(ConfigError, match="at most 16 px"):
        make(given, cam_level=3)
    assert make(given).cam_level == 2
    assert make(given, cam_level=3, form="released").cam_level == 3


def test_prototypes_and_encoder_of_other_lengths_are_refused_with_a_way_out():
    given = parts(prototypes=Prototypes(torch.randn(3, 7), (1, 1, 1)))
    with pytest.raises(ConfigError, match=f"the prototypes have 7 numbers, but the encoder's vectors {DIM}"):
        make(given)


def test_the_presets_feed_each_network_as_it_was_trained_or_as_released():
    paper, released = ENTRY.presets["paper"], ENTRY.presets["released"]
    assert (paper.backbone.order, released.backbone.order) == ("rgb", "bgr")
    assert paper.backbone.mean is None  # CONCH's own
    assert released.backbone.mean[0] == pytest.approx(0.6679, abs=1e-4)  # BCSS-WSSS's, not CONCH's
    assert (paper.teacher.order, released.teacher.order) == ("rgb", "bgr")
    for preset in (paper, released):
        assert preset.backbone.frozen
        assert preset.prototypes.text_encoder == "conch"
        model = preset.model
        assert (model.structure_weight, model.similarity_weight, model.memory_size) == (1.5, 0.2, 2048)
