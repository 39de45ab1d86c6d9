"""How ConStruct gets its parts from settings; networks that would be downloaded are tiny ones of the same form."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from histoproto.backbones.moving_average import MovingAverage
from histoproto.backbones.registry import build_backbone
from histoproto.backbones.small_conv import SmallConv
from histoproto.contracts import LoadedWeights, TextEncoder
from histoproto.errors import ConfigError, WeightsError
from histoproto.presets.changes import describe, merge_settings, read_settings
from histoproto.presets.registry import preset_settings
from histoproto.presets.settings import BackboneSettings, EncoderSettings, PrototypeSource
from histoproto.prompts.reader import read_prompts
from histoproto.taxonomy import BCSS_WSSS
from histoproto.wiring import methods as wiring
from histoproto.wiring.runs import load_run

DIM = 192
"""Channels of small-conv's last level, which is the space of its own encoder."""


class Spelling(TextEncoder):
    """A vector that follows from a sentence's letters alone."""

    dim = DIM

    def forward(self, sentences):
        """Return one vector per sentence."""
        rows = [torch.randn(DIM, generator=torch.Generator().manual_seed(sum(map(ord, one)))) for one in sentences]
        return torch.stack(rows)


@pytest.fixture
def spelling(monkeypatch):
    def build(name, weights):
        assert (name, weights) == ("spelling", None)
        return Spelling(), LoadedWeights("letters", tensors=1)

    monkeypatch.setattr("histoproto.wiring.methods.build_text_encoder", build)


def settings(**changes):
    return replace(preset_settings("construct", "corrected"), **changes)


def test_the_default_needs_no_download_and_has_a_teacher_that_follows_the_student():
    method, loaded, _ = wiring.build(settings(), BCSS_WSSS)
    assert isinstance(method.teacher, MovingAverage)
    assert {weights.source for weights in loaded} == {"none"}
    student = dict(method.backbone.named_parameters())
    assert all(torch.equal(value, student[name]) for name, value in method.teacher.average.network.named_parameters())


def test_a_teacher_from_a_file_is_frozen_and_its_weights_are_no_part_of_the_checkpoint(tmp_path):
    teacher = build_backbone("small-conv")[0]
    save_file(teacher.state_dict(), tmp_path / "teacher.safetensors")
    chosen = BackboneSettings("small-conv", str(tmp_path / "teacher.safetensors"))
    method, loaded, _ = wiring.build(settings(teacher=chosen), BCSS_WSSS)
    assert [weights.tensors for weights in loaded] == [0, 0, len(teacher.state_dict())]
    assert not [name for name in method.state_dict() if name.startswith("teacher")]
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(method.train().teacher(images), teacher.eval()(images))


def test_no_teacher_leaves_the_structural_loss_out():
    method = wiring.build(settings(teacher=BackboneSettings("none")), BCSS_WSSS).method
    assert method.teacher is None
    assert "structure" not in method.train().training_step(torch.rand(2, 3, 64, 64), torch.ones(2, 4), 10**6).terms


def test_prototypes_start_from_the_mean_of_each_classs_sentences(spelling):
    chosen = settings(prototypes=PrototypeSource(text_encoder="spelling"))
    method, loaded, _ = wiring.build(chosen, BCSS_WSSS)
    sentences = read_prompts(None, BCSS_WSSS)
    expected = [normalize(normalize(Spelling()(own), dim=1).mean(0), dim=0) for own in sentences]
    torch.testing.assert_close(method.prototypes.detach(), torch.stack(expected))
    assert loaded[-1].source == "letters"


def test_another_prompt_file_starts_other_prototypes_and_several_a_class_start_apart(spelling):
    shipped = wiring.build(settings(prototypes=PrototypeSource(text_encoder="spelling")), BCSS_WSSS).method
    chosen = settings(prototypes=PrototypeSource(text_encoder="spelling", prompts="phantom"))
    chosen = replace(chosen, model=replace(chosen.model, prototypes_per_class=2))
    method = wiring.build(chosen, BCSS_WSSS).method
    assert method.counts == (2, 2, 2, 2)
    likeness = normalize(method.prototypes, dim=1) @ normalize(shipped.prototypes, dim=1).T
    assert likeness.max() < 0.9
    first, second = method.prototypes[0::2], method.prototypes[1::2]
    assert torch.nn.functional.cosine_similarity(first, second).max() < 0.9


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (PrototypeSource(text_encoder="spelling", prompts="gone.yaml"), "no such prompt file"),
        (PrototypeSource(text_encoder="spelling", bank="bank"), "not from both"),
    ],
)
def test_sources_that_cannot_be_end_in_a_sentence(source, sentence, spelling):
    with pytest.raises(ConfigError, match=sentence):
        wiring.build(settings(prototypes=source), BCSS_WSSS)


def test_an_encoder_of_another_space_than_the_text_is_refused(spelling):
    chosen = settings(prototypes=PrototypeSource(text_encoder="spelling"), encoder=EncoderSettings("random"))
    with pytest.raises(ConfigError, match=f"the prototypes have {DIM} numbers, but the encoder's vectors 64"):
        wiring.build(chosen, BCSS_WSSS)


@pytest.mark.parametrize("preset", ["corrected", "paper", "released"])
def test_settings_survive_the_configuration_file(preset, tmp_path):
    chosen = preset_settings("construct", preset)
    assert read_settings(describe(chosen, BCSS_WSSS, tmp_path), tmp_path / "config.yaml") == chosen


def test_a_command_line_can_name_a_teacher_over_a_preset_with_or_without_one(tmp_path):
    changes = {"teacher": {"name": "mit-b1", "weights": "file.pth"}}
    for base in (preset_settings("construct", "corrected"), preset_settings("lpd", "corrected")):
        teacher = merge_settings(base, changes, tmp_path).teacher
        assert (teacher.name, teacher.weights, teacher.order) == ("mit-b1", "file.pth", "rgb")


def test_a_trained_run_is_loaded_from_its_checkpoint_without_text_encoder_or_teacher(spelling, tmp_path):
    from histoproto.runs import RunFolder

    chosen = settings(prototypes=PrototypeSource(text_encoder="spelling"))
    method = wiring.build(chosen, BCSS_WSSS).method
    method.training_step(torch.rand(2, 3, 64, 64), torch.ones(2, 4), 10**6)
    method.after_step(0)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_config(describe(chosen, BCSS_WSSS, tmp_path))
    folder.checkpoint("best").mkdir(parents=True)
    save_file(method.state_dict(), folder.checkpoint("best") / "model.safetensors")
    changed = describe(replace(chosen, prototypes=PrototypeSource(text_encoder="gone")), BCSS_WSSS, tmp_path)
    folder.write_config(changed)
    run = load_run(folder.path)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(run.method.class_maps(images).maps, method.eval().class_maps(images).maps)
    assert run.method.teacher is None
    assert run.method.memory is None


def test_weights_that_are_not_there_end_in_a_sentence_that_names_them():
    chosen = settings(teacher=BackboneSettings("mit-b0", "gone.bin"))
    with pytest.raises(WeightsError, match=r"gone\.bin: no such weights file"):
        wiring.build(chosen, BCSS_WSSS)


def test_small_conv_has_the_length_that_these_tests_count_on():
    assert SmallConv((32, 64, 128, DIM)).channels == build_backbone("small-conv")[0].channels
