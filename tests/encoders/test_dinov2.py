import json
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import Dinov2Model, Dinov2WithRegistersModel

from histoproto.encoders import dinov2 as module
from histoproto.encoders.cards import CARDS
from histoproto.encoders.dinov2 import DINOV2_B, DINOV2_S, HIBOU_B, HIBOU_L, PHIKON_V2, image_encoder
from histoproto.errors import WeightsError
from tests.encoders.contract import check_image_side, check_refusals, draw, tiny
from tests.encoders.transformers_by_hand import dinov2

TINY = {"img_size": 28, "patch_size": 14, "embed_dim": 12, "depth": 2, "num_heads": 3}
SETTINGS = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "patch_size": 14,
    "attn_implementation": "eager",
}
# By encoder: recipe, the library's model, its settings, and the checkpoint's shapes. DINOv2's positions are those of
# 70 px, so that they are resampled to 28 px, as the published ones from 518 px.
CASES = {
    "dinov2-s": (DINOV2_S, Dinov2Model, {"image_size": 70}, dinov2(12, 26, hidden=48)),
    "phikon-v2": (PHIKON_V2, Dinov2Model, {"image_size": 28}, dinov2(12, 5, hidden=48)),
    "hibou-b": (
        HIBOU_B,
        Dinov2WithRegistersModel,
        {"image_size": 28, "num_register_tokens": 4, "use_swiglu_ffn": True},
        dinov2(12, 5, hidden=32, gated=True, registers=4),
    ),
}


def build(name, weights):
    recipe = CASES[name][0]
    changes = TINY | ({"mlp_ratio": 64 / 12} if "mlp_layer" in recipe.options else {})
    return image_encoder(tiny(name, 28, 12), replace(recipe, options={**recipe.options, **changes}), str(weights))


@pytest.mark.parametrize("name", CASES)
def test_every_recipe_takes_a_checkpoint_of_its_published_form(name, tmp_path):
    tensors = draw(CASES[name][3])
    save_file(tensors, tmp_path / "model.safetensors")

    encoder, loaded = build(name, tmp_path)

    check_image_side(encoder)
    assert loaded.tensors == len(tensors) - 1 - 2 * 2 * 2  # no mask token; query, key and value in one
    assert loaded.licence == CARDS[name].licence


@pytest.mark.parametrize("name", CASES)
def test_the_vectors_are_those_of_the_librarys_own_loader(name, tmp_path):
    _, library, settings, shapes = CASES[name]
    save_file(draw(shapes), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(
        json.dumps(SETTINGS | settings | {"model_type": library.config_class.model_type})
    )
    theirs, report = library.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    encoder = build(name, tmp_path)[0]
    image = torch.rand(2, 3, 28, 28)

    with torch.no_grad():
        expected = theirs.eval()(encoder.normalise(image)).pooler_output
        vectors = encoder(image)

    torch.testing.assert_close(vectors, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["dinov2-s", "hibou-b"])
def test_wrong_weights_end_in_a_sentence(name, tmp_path):
    check_refusals(lambda weights: build(name, weights), draw(CASES[name][3]), tmp_path, "encoder.layer.0.mlp")


def test_a_key_without_its_query_is_named(tmp_path):
    tensors = draw(CASES["phikon-v2"][3])
    del tensors["encoder.layer.1.attention.attention.query.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lacks 1 of .* \(blocks\.1\.attn\.qkv\.weight\)"):
        build("phikon-v2", tmp_path)


# Millions of parameters as published, or 4 bytes each of the published file, and half of the last digit given;
# DINOv2's file holds 1113 positions more.
PUBLISHED = (
    (DINOV2_B, 346 / 4 - 1113 * 768e-6, 0.5 / 4),
    (PHIKON_V2, 303.4, 0.05),
    (HIBOU_B, 85.7, 0.05),
    (HIBOU_L, 303.7, 0.05),
)


@pytest.mark.parametrize(("recipe", "published", "half_a_digit"), PUBLISHED)
def test_the_sizes_are_those_of_the_published_networks(recipe, published, half_a_digit):
    with torch.device("meta"):
        model = timm.create_model(recipe.architecture, num_classes=0, **recipe.options)
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    assert millions == pytest.approx(published, abs=half_a_digit)


@pytest.mark.parametrize("name", ["dinov2_s", "dinov2_b", "dinov2_l", "phikon_v2", "hibou_b", "hibou_l"])
def test_every_name_builds_the_published_size(name, tmp_path):
    with torch.device("meta"), pytest.raises(WeightsError, match=r"absent: no such weights"):
        getattr(module, name)(str(tmp_path / "absent"))
