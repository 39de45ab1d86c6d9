import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SegformerConfig, SegformerForImageClassification

from histoproto.backbones.mit import VARIANTS, MiT, MiTShape
from histoproto.backbones.registry import build_backbone
from histoproto.errors import WeightsError
from histoproto.normalise import Normalise

TINY = MiTShape((16, 32, 40, 64), (2, 2, 2, 2))
PLAIN = Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def official(golden):
    """Tensors under NVIDIA's names."""
    weights = golden("mit_features")
    return {name.removeprefix("weights."): tensor for name, tensor in weights.items() if name.startswith("weights.")}


@pytest.fixture
def tiny_b0(monkeypatch):
    monkeypatch.setitem(VARIANTS, "b0", TINY)


def hub_names(official):
    """Write NVIDIA's tensors under the names of the hub's files (transformers 4), independently of the package."""
    parts = {
        "attn.q": "attention.self.query",
        "attn.sr": "attention.self.sr",
        "attn.norm": "attention.self.layer_norm",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "mlp.dense1",
        "mlp.fc2": "mlp.dense2",
        "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
        "norm1": "layer_norm_1",
        "norm2": "layer_norm_2",
    }
    hub = {}
    for name, tensor in official.items():
        head, _, rest = name.partition(".")
        stage = int(head[-1]) - 1
        if head.startswith("patch_embed"):
            hub[f"encoder.patch_embeddings.{stage}.{rest.replace('norm', 'layer_norm')}"] = tensor
        elif head.startswith("norm"):
            hub[f"encoder.layer_norm.{stage}.{rest}"] = tensor
        else:
            block, _, inner = rest.partition(".")
            part, _, kind = inner.rpartition(".")
            prefix = f"encoder.block.{stage}.{block}"
            if part == "attn.kv":
                half = len(tensor) // 2
                hub[f"{prefix}.attention.self.key.{kind}"] = tensor[:half].clone()
                hub[f"{prefix}.attention.self.value.{kind}"] = tensor[half:].clone()
            else:
                hub[f"{prefix}.{parts[part]}.{kind}"] = tensor
    return hub


def assert_gives_golden_features(backbone, golden):
    expected = golden("mit_features")
    with torch.no_grad():
        levels = backbone.eval()(expected["image"])
    for index, level in enumerate(levels, start=1):
        torch.testing.assert_close(level, expected[f"stage{index}"], atol=5e-6, rtol=0)


def test_official_tensors_give_the_released_features(official, golden):
    backbone = MiT(TINY, normalise=PLAIN)

    loaded = backbone.fill(official, "golden")

    assert loaded == len(backbone.state_dict()) == 192
    assert_gives_golden_features(backbone, golden)


def test_official_pth_file_loads_with_its_classification_head(official, golden, tmp_path, tiny_b0):
    path = tmp_path / "mit_b0.pth"
    torch.save({**official, "head.weight": torch.zeros(1000, 64), "head.bias": torch.zeros(1000)}, path)

    backbone, weights = build_backbone("mit-b0", str(path), PLAIN)

    assert weights.tensors == 192
    assert weights.licence is not None
    assert "non-commercial" in weights.licence
    assert_gives_golden_features(backbone, golden)


def test_nvidia_segmentation_checkpoint_loads_from_inside_its_wrapper(official, golden, tmp_path, tiny_b0):
    wrapped = {f"backbone.{name}": tensor for name, tensor in official.items()}
    torch.save({"state_dict": {**wrapped, "decode_head.linear_pred.bias": torch.zeros(150)}}, tmp_path / "s.pth")

    backbone, _ = build_backbone("mit-b0", str(tmp_path / "s.pth"), PLAIN)

    assert_gives_golden_features(backbone, golden)


@pytest.mark.parametrize("prefix", ["", "segformer."])
def test_hub_folder_with_names_of_transformers_4_loads(official, golden, tmp_path, tiny_b0, prefix):
    tensors = {prefix + name: tensor for name, tensor in hub_names(official).items()}
    save_file({**tensors, "decode_head.classifier.bias": torch.zeros(150)}, tmp_path / "model.safetensors")

    backbone, weights = build_backbone("mit-b0", str(tmp_path), PLAIN)

    assert weights.tensors == 192
    assert_gives_golden_features(backbone, golden)


def test_folder_saved_by_the_installed_transformers_loads(tmp_path, tiny_b0):
    config = SegformerConfig(hidden_sizes=TINY.channels, num_labels=3)
    SegformerForImageClassification(config).save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")

    backbone, weights = build_backbone("mit-b0", str(tmp_path))

    heads = [name for name in saved if name.startswith("classifier.")]
    assert weights.tensors == len(saved) - len(heads) == len(backbone.state_dict())
    sums = sorted(tensor.double().sum().item() for name, tensor in saved.items() if name not in heads)
    assert sums == sorted(tensor.double().sum().item() for tensor in backbone.state_dict().values())


def test_a_missing_tensor_is_named(official):
    short = {name: tensor for name, tensor in official.items() if name != "norm4.bias"}
    with pytest.raises(WeightsError, match="lacks 1 of 192 tensors"):
        MiT(TINY).fill(short, "short.pth")


def test_a_tensor_without_a_place_is_named(official):
    odd = {**official, "block5.0.norm1.weight": torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"no place for 1 of 193 tensors \(block\.4\.0\.norm1\.weight\)"):
        MiT(TINY).fill(odd, "odd.pth")


def test_tensors_of_another_variant_do_not_fit(official):
    wider = MiT(MiTShape((16, 32, 40, 72), (2, 2, 2, 2)))
    with pytest.raises(WeightsError, match="differs in shape"):
        wider.fill(official, "mit_b0.pth")


def test_segformer_strides_halve_the_last_level():
    backbone, _ = build_backbone("mit-b0", strides=(4, 2, 2, 2))
    assert tuple(backbone.strides) == (4, 8, 16, 32)
