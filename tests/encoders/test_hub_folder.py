import json

import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from timm.models import save_for_hf

from histoproto import weights as weights_module
from histoproto.backbones.small_conv import SmallConv
from histoproto.contracts import LoadedWeights
from histoproto.encoders import hub_folder as module
from histoproto.encoders import registry
from histoproto.encoders.hub_folder import hub_folder
from histoproto.encoders.random_conv import RandomEncoder
from histoproto.encoders.registry import build_encoder
from histoproto.errors import ConfigError, WeightsError
from tests.encoders.contract import check_image_side, draw
from tests.encoders.transformers_by_hand import timm_vit

STATISTICS = {"mean": [0.7, 0.5, 0.6], "std": [0.2, 0.2, 0.1]}


@pytest.fixture
def vit(tmp_path):
    """A transformer with layer scale and gated blocks, of which the settings say nothing, and without pooling."""
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 0,
        "num_features": 12,
        "global_pool": "",
        "model_args": {"img_size": 32, "embed_dim": 12, "depth": 2, "num_heads": 3, "mlp_ratio": 6.0},
        "pretrained_cfg": {"input_size": [3, 32, 32], "license": "Apache-2.0", **STATISTICS},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(draw(timm_vit(12, 5, hidden=36, gated=True)), tmp_path / "model.safetensors")
    return tmp_path


def changed(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return str(folder)


def test_what_the_settings_leave_out_is_taken_from_the_tensors(vit):
    encoder, loaded = hub_folder(str(vit))
    check_image_side(encoder)
    assert encoder.dim == 24  # class token and mean of the patches
    assert encoder.input_px == 32
    assert encoder.normalise.mean.flatten().tolist() == pytest.approx(STATISTICS["mean"])
    assert loaded.licence == "Apache-2.0"
    assert hub_folder(changed(vit, global_pool="token"))[0].dim == 12


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "test_resnet"])
def test_a_folder_written_by_timm_becomes_the_encoder_that_timm_makes_of_it(architecture, tmp_path):
    model = timm.create_model(architecture, num_classes=5).eval()
    save_for_hf(model, tmp_path)

    encoder, _ = build_encoder(str(tmp_path), None, SmallConv((4, 8, 8, 6)))

    image = torch.rand(1, 3, encoder.input_px, encoder.input_px)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(encoder.normalise(image)), pre_logits=True)
        torch.testing.assert_close(encoder(image), expected)


def test_a_repository_is_asked_for_tensors_and_settings_of_one_revision(vit, monkeypatch):
    def fetch(repository, name, revision=None, **_):
        assert (repository, revision) == ("org/name", "r1")
        if not (vit / name).is_file():
            raise LocalEntryNotFoundError("x")
        return str(vit / name)

    monkeypatch.setattr(weights_module, "hf_hub_download", fetch)
    monkeypatch.setattr(module, "hf_hub_download", fetch)
    changed(vit, pretrained_cfg={"input_size": [3, 32, 32]})
    loaded = build_encoder("hf:org/name@r1", None, SmallConv((4, 8, 8, 6)))[1]
    assert loaded.source == "hf:org/name@r1"
    assert loaded.licence == "see https://huggingface.co/org/name"

    (vit / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"^hf:org/name@r1: config\.json is missing or damaged"):
        hub_folder("hf:org/name@r1")


def test_the_address_of_a_named_encoder_means_that_encoder(monkeypatch):
    def function(place):
        return lambda source: (RandomEncoder(8), LoadedWeights(f"{place} from {source}"))

    monkeypatch.setattr(registry, "_function", function)
    loaded = build_encoder("hf:MahmoodLab/uni@r2", None, SmallConv((4, 8, 8, 6)))[1]
    assert loaded.source == "timm_vit:uni from hf:MahmoodLab/uni@r2"


def test_other_weights_beside_a_hub_folder_end_in_a_sentence(vit):
    with pytest.raises(ConfigError, match="brings its own weights; leave --encoder-weights out"):
        build_encoder(str(vit), "other.bin", SmallConv((4, 8, 8, 6)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": None, "model_type": "dinov2"}, r"is of transformers \(dinov2\)"),
        ({"architecture": None}, "names no architecture"),
        ({"architecture": "vit_of_tomorrow"}, "cannot build vit_of_tomorrow"),
        ({"architecture": "vit_small_patch8_224"}, r"does not fit .*differs in shape"),
        ({"pretrained_cfg": {"input_size": [3, 40, 40]}}, "takes no images of 40 px"),
    ],
)
def test_wrong_settings_end_in_a_sentence(vit, changes, words):
    with pytest.raises(WeightsError, match=words):
        hub_folder(changed(vit, **changes))


def test_a_network_that_returns_no_vector_ends_in_a_sentence(tmp_path):
    save_for_hf(timm.create_model("test_resnet", num_classes=5), tmp_path)
    changed(tmp_path, model_args={"global_pool": ""})
    with pytest.raises(WeightsError, match="not one vector; write a global_pool"):
        hub_folder(str(tmp_path))


def test_damaged_settings_end_in_a_sentence(vit):
    (vit / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is missing or damaged"):
        hub_folder(str(vit))
