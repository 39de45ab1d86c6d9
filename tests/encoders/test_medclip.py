import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertModel, SwinModel

from histoproto.encoders import medclip as module
from histoproto.encoders.cards import CARDS
from histoproto.encoders.medclip import (
    MedCLIPImageTower,
    MedCLIPShape,
    MedCLIPTextTower,
    image_encoder,
    released_encoder,
    text_encoder,
)
from histoproto.encoders.tokens import Vocabulary
from histoproto.errors import WeightsError
from tests.encoders.contract import check_image_side, check_refusals, check_text_side, draw, tiny

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "tum", "##our", "stroma", "with", "long", "fibrous"]
CARD, RELEASED = tiny("medclip"), tiny("medclip-released")
SHAPE = MedCLIPShape(8, (2, 1), (2, 4), 4, text_width=12, text_layers=3, text_heads=3, vocabulary=Vocabulary(12, 9))


def linear(name, given, wanted, bias=True):
    return {f"{name}.weight": (wanted, given)} | ({f"{name}.bias": (wanted,)} if bias else {})


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def swin(prefix):
    """Return a two-stage Swin transformer under the names of the hub's files."""
    shapes = {f"{prefix}embeddings.patch_embeddings.projection.weight": (8, 3, 4, 4)}
    shapes |= {f"{prefix}embeddings.patch_embeddings.projection.bias": (8,)} | norm(f"{prefix}embeddings.norm", 8)
    for stage, (blocks, width, heads) in enumerate([(2, 8, 2), (1, 16, 4)]):
        for index in range(blocks):
            block = f"{prefix}encoder.layers.{stage}.blocks.{index}"
            shapes |= norm(f"{block}.layernorm_before", width) | norm(f"{block}.layernorm_after", width)
            shapes[f"{block}.attention.self.relative_position_bias_table"] = (49, heads)
            for part in ("query", "key", "value"):
                shapes |= linear(f"{block}.attention.self.{part}", width, width)
            shapes |= linear(f"{block}.attention.output.dense", width, width)
            shapes |= linear(f"{block}.intermediate.dense", width, 4 * width)
            shapes |= linear(f"{block}.output.dense", 4 * width, width)
    merge = f"{prefix}encoder.layers.0.downsample"
    shapes |= linear(f"{merge}.reduction", 32, 16, bias=False) | norm(f"{merge}.norm", 32)
    return shapes | norm(f"{prefix}layernorm", 16)


def position_index():
    """Return Swin's table of relative positions for windows of 4 x 4, from its definition."""
    cells = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    apart = cells[:, None] - cells[None] + 3
    return apart[..., 0] * 7 + apart[..., 1]


def bert(prefix):
    """Return a three-layer BERT under the names of the hub's files."""
    shapes = {f"{prefix}embeddings.word_embeddings.weight": (12, 12)}
    shapes |= {f"{prefix}embeddings.position_embeddings.weight": (512, 12)}
    shapes |= {f"{prefix}embeddings.token_type_embeddings.weight": (2, 12)} | norm(f"{prefix}embeddings.LayerNorm", 12)
    for index in range(3):
        layer = f"{prefix}encoder.layer.{index}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{layer}.attention.self.{part}", 12, 12)
        shapes |= linear(f"{layer}.attention.output.dense", 12, 12) | norm(f"{layer}.attention.output.LayerNorm", 12)
        shapes |= linear(f"{layer}.intermediate.dense", 12, 48) | linear(f"{layer}.output.dense", 48, 12)
        shapes |= norm(f"{layer}.output.LayerNorm", 12)
    return shapes | linear(f"{prefix}pooler.dense", 12, 12)


@pytest.fixture
def tensors():
    """A tiny MedCLIP under the names of its checkpoint."""
    shapes = swin("vision_model.model.") | bert("text_model.model.") | {"logit_scale": ()}
    shapes |= linear("vision_model.projection_head", 16, 8, bias=False)
    shapes |= linear("text_model.projection_head", 12, 8, bias=False)
    index = {name.replace("bias_table", "index"): position_index() for name in shapes if name.endswith("bias_table")}
    return draw(shapes) | index | {"text_model.model.embeddings.position_ids": torch.arange(512)[None]}


@pytest.fixture
def folder(tensors, tmp_path):
    """The unpacked MedCLIP archive with the vocabulary of Bio_ClinicalBERT put into it."""
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


def part(tensors, prefix):
    return {name.removeprefix(prefix): held for name, held in tensors.items() if name.startswith(prefix)}


def test_both_sides_keep_the_contract_and_share_one_space(folder):
    image, loaded = image_encoder(CARD, str(folder), SHAPE)
    text, text_loaded = text_encoder(CARD, str(folder / "pytorch_model.bin"), SHAPE)
    check_image_side(image)
    check_text_side(text)
    assert image.dim == text.dim == 8
    assert loaded.tensors == 4 + 3 * 17 + 3 + 2 + 1
    assert text_loaded.tensors == 5 + 3 * 16 + 2 + 1
    assert "vocab.txt" in text_loaded.notes[0]


def test_the_image_vector_is_the_projection_of_the_librarys_own_swin(folder, tensors, tmp_path):
    config = {"image_size": 32, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "swin", **config}))
    save_file(part(tensors, "vision_model.model."), tmp_path / "model.safetensors")
    theirs = SwinModel.from_pretrained(tmp_path)  # knows the old names by itself

    picture = torch.rand(2, 3, 32, 32)
    encoder = image_encoder(CARD, str(tmp_path / "pytorch_model.bin"), SHAPE)[0]
    with torch.no_grad():
        pooled = theirs((picture - 0.5862785803043838) / 0.27950088968644304).pooler_output
        torch.testing.assert_close(encoder(picture), pooled @ tensors["vision_model.projection_head.weight"].T)


def test_the_text_vector_is_the_projected_mean_of_the_first_second_and_last_layer(folder, tensors, tmp_path):
    config = {"vocab_size": 12, "hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 3}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "intermediate_size": 48, **config}))
    save_file(part(tensors, "text_model.model."), tmp_path / "model.safetensors")
    theirs = BertModel.from_pretrained(tmp_path)

    encoder = text_encoder(CARD, str(tmp_path / "pytorch_model.bin"), SHAPE)[0]
    with torch.no_grad():
        layers = theirs(torch.tensor([[2, 5, 6, 7, 3]]), output_hidden_states=True).hidden_states
    tokens = (layers[1] + layers[2] + layers[3]) / 3
    expected = tokens.mean(1) @ tensors["text_model.projection_head.weight"].T

    torch.testing.assert_close(encoder(["A Tumour"]), expected)
    torch.testing.assert_close(encoder(["a tumour", "stroma with a long tumour"])[:1], expected)


def test_sentences_are_made_small_and_cut_off(folder):
    text = text_encoder(CARD, str(folder), SHAPE)[0]
    ids, real = text.tokenise(["A TUMOUR", "stroma " * 20])
    assert ids[0].tolist() == [2, 5, 6, 7, 3, 0, 0, 0, 0]
    assert ids[1].tolist() == [2, *7 * [8], 3]
    assert real.sum(1).tolist() == [5, 9]


def test_a_checkpoint_without_projection_is_refused(tensors, tmp_path):
    del tensors["vision_model.projection_head.weight"]
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"holds no vision_model\.projection_head\.weight.*medclip-released"):
        image_encoder(CARD, str(tmp_path / "w.safetensors"), SHAPE)


def test_imagenets_swin_is_not_taken_for_medclip(tmp_path):
    save_file(draw(swin("swin.") | linear("classifier", 16, 10)), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="without which MedCLIP's vectors are random"):
        image_encoder(CARD, str(tmp_path), SHAPE)


def test_the_released_form_is_imagenets_swin_behind_a_seeded_random_projection_and_says_so(tmp_path):
    tensors = draw(swin("swin.") | linear("classifier", 16, 10))
    save_file(tensors, tmp_path / "model.safetensors")

    first, loaded = released_encoder(RELEASED, str(tmp_path), SHAPE)
    torch.manual_seed(7)
    second = released_encoder(RELEASED, str(tmp_path), SHAPE)[0]

    check_image_side(first)
    assert loaded.tensors == len(tensors) - 2
    assert loaded.licence == "Apache-2.0"
    assert loaded.notes == ["the projection is random (seed 42): no weights of MedCLIP are in this encoder"]
    weight = first.frozen.network.projection_head.weight
    assert torch.equal(weight, second.frozen.network.projection_head.weight)
    assert weight.abs().max() <= 0.25  # 1 / sqrt(16)
    picture = torch.rand(1, 3, 32, 32)
    pooled = first.frozen.network.model(picture).pooler_output
    torch.testing.assert_close(first(picture), pooled @ weight.T)


def test_wrong_weights_end_in_a_sentence(tensors, tmp_path):
    check_refusals(lambda weights: image_encoder(CARD, weights, SHAPE), tensors, tmp_path, "vision_model.model.")
    check_refusals(lambda weights: text_encoder(CARD, weights, SHAPE), tensors, tmp_path, "text_model.model.")
    imagenet = draw(swin("swin."))
    check_refusals(lambda weights: released_encoder(RELEASED, weights, SHAPE), imagenet, tmp_path, "swin.encoder.")


def test_a_missing_vocabulary_says_where_it_is(folder):
    (folder / "vocab.txt").unlink()
    with pytest.raises(WeightsError, match=r"no vocab\.txt could be found.*emilyalsentzer/Bio_ClinicalBERT"):
        text_encoder(CARD, str(folder), SHAPE)


@pytest.mark.parametrize("name", ["medclip", "medclip_released", "medclip_text"])
def test_every_name_builds_the_published_size(name, tmp_path):
    with torch.device("meta"), pytest.raises(WeightsError, match=r"absent: no such weights"):
        getattr(module, name)(str(tmp_path / "absent"))


def test_the_sizes_are_those_of_swin_t_and_bert_base():
    with torch.device("meta"):
        image = MedCLIPImageTower(CARDS["medclip"], MedCLIPShape())
        text = MedCLIPTextTower(CARDS["medclip"], MedCLIPShape())
    assert sum(weight.numel() for weight in image.model.parameters()) == 27_519_354
    assert image.projection_head.weight.shape == (512, 768)
    assert sum(weight.numel() for weight in text.model.parameters()) == 108_310_272
    assert text.projection_head.weight.shape == (512, 768)
