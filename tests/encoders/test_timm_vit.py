from dataclasses import replace

import pytest
import timm
import torch
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import save_file

from histoproto import weights as weights_module
from histoproto.encoders import timm_vit as module
from histoproto.encoders.cards import CARDS
from histoproto.encoders.timm_vit import H_OPTIMUS, KAIKO, UNI, UNI2_H, VIRCHOW2, image_encoder
from histoproto.errors import WeightsError
from tests.encoders.contract import check_image_side, check_refusals, draw, tiny
from tests.encoders.transformers_by_hand import timm_vit

TINY = {"img_size": 32, "patch_size": 16, "embed_dim": 12, "depth": 2, "num_heads": 3}
# By recipe: changes to its options, length of the vector, and the checkpoint's shapes: 4 patches, and a position for
# the class token (UNI, Kaiko), also for the registers (Virchow2), or for neither (UNI2-h, H-optimus).
CASES = {
    "uni": (UNI, {}, 12, timm_vit(12, 5, hidden=48)),
    "uni2-h": (UNI2_H, {}, 12, timm_vit(12, 4, hidden=32, gated=True, registers=8)),
    "virchow2": (VIRCHOW2, {}, 24, timm_vit(12, 9, hidden=32, gated=True, registers=4)),
    "h-optimus-0": (H_OPTIMUS, {}, 12, timm_vit(12, 4, hidden=32, gated=True, registers=4)),
    "h-optimus-1": (H_OPTIMUS, {}, 12, timm_vit(12, 4, hidden=32, gated=True, registers=4)),
    "kaiko-vitb16": (KAIKO["kaiko-vitb16"], {}, 12, timm_vit(12, 5, hidden=48, scaled=False)),
    "kaiko-vitl14": (KAIKO["kaiko-vitl14"], {"img_size": 48}, 12, timm_vit(12, 9, hidden=48, registers=4)),
}


def build(name, weights):
    recipe, changes, dim, _ = CASES[name]
    small = replace(recipe, options={**recipe.options, **TINY, **changes})
    return image_encoder(tiny(name, dim=dim), small, str(weights))


@pytest.mark.parametrize("name", CASES)
def test_every_recipe_takes_a_checkpoint_of_its_published_form(name, tmp_path):
    tensors = draw(CASES[name][3])
    save_file(tensors, tmp_path / "model.safetensors")

    encoder, loaded = build(name, tmp_path)

    check_image_side(encoder)
    assert loaded.tensors == len(tensors)
    assert loaded.licence == CARDS[name].licence


def test_the_vector_is_the_class_token_after_the_last_norm(tmp_path):
    torch.save(draw(CASES["uni"][3]), tmp_path / "pytorch_model.bin")
    encoder = build("uni", tmp_path)[0]
    image = torch.rand(1, 3, 32, 32)
    tokens = encoder.frozen.network.forward_features(encoder.normalise(image))
    torch.testing.assert_close(encoder(image), tokens[:, 0])
    torch.testing.assert_close(
        encoder.frozen.network.norm(tokens * 0), encoder.frozen.network.norm.bias.expand(1, 5, 12)
    )


def test_virchow2_is_the_class_token_and_the_mean_of_the_patches_without_registers(tmp_path):
    torch.save(draw(CASES["virchow2"][3]), tmp_path / "pytorch_model.bin")
    encoder = build("virchow2", tmp_path)[0]
    image = torch.rand(1, 3, 32, 32)
    tokens = encoder.frozen.network.model.forward_features(encoder.normalise(image))
    assert tokens.shape == (1, 1 + 4 + 4, 12)
    torch.testing.assert_close(encoder(image), torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], dim=1))


@pytest.mark.parametrize("name", ["uni", "virchow2"])
def test_wrong_weights_end_in_a_sentence(name, tmp_path):
    check_refusals(lambda weights: build(name, weights), draw(CASES[name][3]), tmp_path, "blocks.")


class Response:
    headers: dict = {}  # noqa: RUF012 - stands for an HTTP response
    request = None


def test_gated_weights_end_in_a_sentence_with_the_link_and_the_command(monkeypatch):
    def refuse(*_, **__):
        raise GatedRepoError("x", response=Response())

    monkeypatch.setattr(weights_module, "hf_hub_download", refuse)
    with pytest.raises(WeightsError, match=r"https://huggingface\.co/MahmoodLab/UNI, then run: hf auth login"):
        build("uni", "hf:MahmoodLab/UNI")


# Millions of parameters as published, or 4 bytes each of the published file, and half of the last digit given.
PUBLISHED = {
    "uni": (303.4, 0.05),
    "uni2-h": (681.4, 0.05),
    "virchow2": (631.2, 0.05),
    "h-optimus-0": (4540 / 4, 5 / 4),
    "kaiko-vitb16": (343 / 4, 0.5 / 4),
    "kaiko-vitl14": (1220 / 4, 5 / 4),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_sizes_are_those_of_the_published_networks(name):
    recipe = {"uni": UNI, "uni2-h": UNI2_H, "virchow2": VIRCHOW2, "h-optimus-0": H_OPTIMUS, **KAIKO}[name]
    with torch.device("meta"):
        model = timm.create_model(recipe.architecture, num_classes=0, **recipe.options)
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED[name][0], abs=PUBLISHED[name][1])
    assert CARDS[name].dim == model.embed_dim * (2 if recipe.mean_too else 1)


@pytest.mark.parametrize(
    "name",
    ["uni", "uni2_h", "virchow2", "h_optimus_0", "h_optimus_1", *(place.replace("-", "_") for place in KAIKO)],
)
def test_every_name_builds_the_published_size(name, tmp_path):
    with torch.device("meta"), pytest.raises(WeightsError, match=r"absent: no such weights"):
        getattr(module, name)(str(tmp_path / "absent"))
