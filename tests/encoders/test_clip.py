import json

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from transformers import CLIPModel

from histoproto import weights as weights_module
from histoproto.encoders import clip as module
from histoproto.encoders import tokens as tokens_module
from histoproto.encoders.cards import CARDS
from histoproto.encoders.clip import CLIPImageTower, CLIPShape, CLIPTextTower, image_encoder, text_encoder
from histoproto.encoders.tokens import Vocabulary
from histoproto.errors import WeightsError
from tests.encoders.contract import check_image_side, check_refusals, check_text_side, draw, tiny

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "tu", "<|startoftext|>", "<|endoftext|>"]
CARD = tiny("clip")
SHAPE = CLIPShape(16, 16, 2, 2, text_width=12, text_layers=2, text_heads=3, vocabulary=Vocabulary(len(WORDS), 10))


def block(prefix, width):
    shapes = {}
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= {f"{prefix}.self_attn.{name}.weight": (width, width), f"{prefix}.self_attn.{name}.bias": (width,)}
    for name in ("layer_norm1", "layer_norm2"):
        shapes |= {f"{prefix}.{name}.weight": (width,), f"{prefix}.{name}.bias": (width,)}
    shapes |= {f"{prefix}.mlp.fc1.weight": (4 * width, width), f"{prefix}.mlp.fc1.bias": (4 * width,)}
    return shapes | {f"{prefix}.mlp.fc2.weight": (width, 4 * width), f"{prefix}.mlp.fc2.bias": (width,)}


@pytest.fixture
def tensors():
    """A tiny CLIP under the names of the hub's files, an old file's counters included."""
    held = {
        "vision_model.embeddings.class_embedding": (16,),
        "vision_model.embeddings.patch_embedding.weight": (16, 3, 16, 16),
        "vision_model.embeddings.position_embedding.weight": (5, 16),
        "vision_model.pre_layrnorm.weight": (16,),
        "vision_model.pre_layrnorm.bias": (16,),
        "vision_model.post_layernorm.weight": (16,),
        "vision_model.post_layernorm.bias": (16,),
        "visual_projection.weight": (8, 16),
        "text_model.embeddings.token_embedding.weight": (len(WORDS), 12),
        "text_model.embeddings.position_embedding.weight": (10, 12),
        "text_model.final_layer_norm.weight": (12,),
        "text_model.final_layer_norm.bias": (12,),
        "text_projection.weight": (8, 12),
        "logit_scale": (),
    }
    for index in range(2):
        held |= block(f"vision_model.encoder.layers.{index}", 16) | block(f"text_model.encoder.layers.{index}", 12)
    counters = {"vision_model": torch.arange(5)[None], "text_model": torch.arange(10)[None]}
    return draw(held) | {f"{tower}.embeddings.position_ids": held for tower, held in counters.items()}


@pytest.fixture
def folder(tensors, tmp_path):
    """A hub folder with weights and tokenizer."""
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(WORDS)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nt u\n")
    return tmp_path


def test_both_sides_keep_the_contract_and_share_one_space(folder):
    image, loaded = image_encoder(CARD, str(folder), SHAPE)
    text, text_loaded = text_encoder(CARD, str(folder / "model.safetensors"), SHAPE)
    check_image_side(image)
    check_text_side(text)
    assert image.dim == text.dim == 8
    assert loaded.tensors == 8 + 2 * 16
    assert text_loaded.tensors == 5 + 2 * 16
    assert loaded.licence == text_loaded.licence == CARDS["clip"].licence
    assert "vocab.json" in text_loaded.notes[0]
    assert "merges.txt" in text_loaded.notes[0]


def test_the_vectors_are_those_of_the_librarys_own_loader(folder):
    config = {
        "model_type": "clip",
        "projection_dim": 8,
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
        },
        "text_config": {
            "hidden_size": 12,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "vocab_size": len(WORDS),
            "max_position_embeddings": 10,
            "bos_token_id": len(WORDS) - 2,
            "eos_token_id": len(WORDS) - 1,
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    theirs = CLIPModel.from_pretrained(folder)
    image = image_encoder(CARD, str(folder), SHAPE)[0]
    text = text_encoder(CARD, str(folder), SHAPE)[0]
    picture, ids = torch.rand(1, 3, 32, 32), torch.tensor([[len(WORDS) - 2, 1, 3, len(WORDS) - 1]])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CARD.mean, CARD.std))
    with torch.no_grad():
        output = theirs(pixel_values=(picture - mean) / std, input_ids=ids)
        own_text = text.frozen(ids, torch.ones_like(ids, dtype=torch.bool))
        own_image = image(picture)
    torch.testing.assert_close(torch.nn.functional.normalize(own_image), output.image_embeds)
    torch.testing.assert_close(torch.nn.functional.normalize(own_text), output.text_embeds)


def test_sentences_become_the_tokens_of_the_files_between_start_and_end(folder):
    text = text_encoder(CARD, str(folder), SHAPE)[0]
    ids, real = text.tokenise(["TUM  or", "a", "a " * 50])
    start, end = len(WORDS) - 2, len(WORDS) - 1
    assert ids[1].tolist() == [start, WORDS.index("a</w>")] + 8 * [end]
    assert ids[0, :5].tolist() == [start, *(WORDS.index(word) for word in ("tu", "m</w>", "o", "r</w>"))]
    assert ids.shape == (3, 10)
    assert ids[2, -1] == end
    assert real.sum(1).tolist() == [6, 3, 10]


def test_a_folder_with_tokenizer_json_alone_gives_the_same_tokens(folder, tmp_path_factory, tensors):
    text = text_encoder(CARD, str(folder), SHAPE)[0]
    other = tmp_path_factory.mktemp("other")
    save_file(tensors, other / "model.safetensors")
    text.tokenise.tokenizer.backend_tokenizer.save(str(other / "tokenizer.json"))

    again, loaded = text_encoder(CARD, str(other), SHAPE)

    assert torch.equal(again(["a tumour"]), text(["a tumour"]))
    assert "tokenizer.json" in loaded.notes[0]


def test_wrong_weights_end_in_a_sentence(tensors, tmp_path):
    check_refusals(lambda weights: image_encoder(CARD, weights, SHAPE), tensors, tmp_path, "vision_model.")
    check_refusals(lambda weights: text_encoder(CARD, weights, SHAPE), tensors, tmp_path, "text_model.")


def test_missing_damaged_and_foreign_tokenizers_end_in_a_sentence(folder):
    (folder / "merges.txt").unlink()
    with pytest.raises(WeightsError, match=r"neither tokenizer\.json nor vocab\.json with merges\.txt could be found"):
        text_encoder(CARD, str(folder), SHAPE)

    (folder / "tokenizer.json").write_text('{"version": "1.0", "model"')
    with pytest.raises(WeightsError, match=r"tokenizer\.json is no tokenizer"):
        text_encoder(CARD, str(folder), SHAPE)

    (folder / "tokenizer.json").unlink()
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(WORDS[26:])}))
    with pytest.raises(WeightsError, match=r"vocab\.json has 29 tokens, but the text tower has 55"):
        text_encoder(CARD, str(folder), SHAPE)

    with pytest.raises(WeightsError, match="give weights, not none"):
        text_encoder(CARD, "none", SHAPE)


def test_a_hub_address_is_asked_for_weights_and_tokenizer(folder, monkeypatch):
    def fetch(repository, name, revision=None, **_):
        assert (repository, revision) == ("vinid/plip", "r1")
        if not (folder / name).is_file():
            raise LocalEntryNotFoundError("x")
        return str(folder / name)

    monkeypatch.setattr(weights_module, "hf_hub_download", fetch)
    monkeypatch.setattr(tokens_module, "hf_hub_download", fetch)
    assert text_encoder(CARD, "hf:vinid/plip@r1", SHAPE)[1].tensors == 37

    (folder / "vocab.json").unlink()
    with pytest.raises(WeightsError, match=r"^hf:vinid/plip@r1: .*run: hf download vinid/plip$"):
        text_encoder(CARD, "hf:vinid/plip@r1", SHAPE)


@pytest.mark.parametrize("name", ["clip", "clip_text", "plip", "plip_text"])
def test_every_name_builds_the_published_size(name, tmp_path):
    with torch.device("meta"), pytest.raises(WeightsError, match=r"absent: no such weights"):
        getattr(module, name)(str(tmp_path / "absent"))


def test_the_sizes_are_those_of_vit_b_32():
    with torch.device("meta"):
        image = CLIPImageTower(CARDS["clip"], CLIPShape()).model
        text = CLIPTextTower(CARDS["plip"], CLIPShape()).model
    assert sum(weight.numel() for weight in image.parameters()) == 87_849_216
    assert sum(weight.numel() for weight in text.parameters()) == 63_428_096
