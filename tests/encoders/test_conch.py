import json

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
from safetensors.torch import save_file
from torch.nn.functional import gelu, interpolate, layer_norm

from histoproto import weights as weights_module
from histoproto.encoders import conch as module
from histoproto.encoders.cards import CARDS
from histoproto.encoders.conch import image_encoder, text_encoder
from histoproto.encoders.conch_towers import ConchImageTower, ConchShape, ConchTextTower, hidden_positions
from histoproto.encoders.tokens import CONCH_FILE, Vocabulary
from histoproto.errors import WeightsError
from tests.encoders.contract import check_image_side, check_refusals, check_text_side, draw, tiny

SPECIAL = ["<pad>", "<start_of_text>", "<end_of_text>", "<|person|>", "<|mrn|>", "<|specimen_id|>", "<|date|>"]
WORDS = [*SPECIAL, "Ġ", *"abcdefghijklmnopqrstuvwxyz", "Ġt", "um", "Ġtum"]
MERGES = [["Ġ", "t"], ["u", "m"], ["Ġt", "um"]]
CARD = tiny("conch")
SHAPE = ConchShape(16, 12, 2, 3, 2, text_width=16, text_layers=2, text_heads=4, vocabulary=Vocabulary(37, 9, True))


def linear(name, given, wanted):
    return {f"{name}.weight": (wanted, given), f"{name}.bias": (wanted,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def pool(name, width, dim, queries):
    shapes = {f"{name}.query": (queries, dim), f"{name}.attn.in_proj_bias": (3 * dim,)}
    shapes |= {f"{name}.attn.q_proj_weight": (dim, dim), f"{name}.attn.k_proj_weight": (dim, width)}
    shapes |= {f"{name}.attn.v_proj_weight": (dim, width)} | linear(f"{name}.attn.out_proj", dim, dim)
    return shapes | norm(f"{name}.ln_q", dim) | norm(f"{name}.ln_k", width)


def text_block(name, width):
    shapes = norm(f"{name}.ln_1", width) | norm(f"{name}.ln_2", width)
    shapes |= {f"{name}.attn.in_proj_weight": (3 * width, width), f"{name}.attn.in_proj_bias": (3 * width,)}
    shapes |= linear(f"{name}.attn.out_proj", width, width)
    return shapes | linear(f"{name}.mlp.c_fc", width, 4 * width) | linear(f"{name}.mlp.c_proj", 4 * width, width)


@pytest.fixture
def tensors():
    """A tiny CONCH under the names of its checkpoint, captioning included."""
    trunk = "visual.trunk"
    shapes = {f"{trunk}.cls_token": (1, 1, 12), f"{trunk}.pos_embed": (1, 5, 12), "logit_scale": ()}
    shapes |= {f"{trunk}.patch_embed.proj.weight": (12, 3, 16, 16), f"{trunk}.patch_embed.proj.bias": (12,)}
    for index in range(2):
        block = f"{trunk}.blocks.{index}"
        shapes |= norm(f"{block}.norm1", 12) | norm(f"{block}.norm2", 12)
        shapes |= linear(f"{block}.attn.qkv", 12, 36) | linear(f"{block}.attn.proj", 12, 12)
        shapes |= linear(f"{block}.mlp.fc1", 12, 48) | linear(f"{block}.mlp.fc2", 48, 12)
    shapes |= norm(f"{trunk}.norm", 12) | pool("visual.attn_pool_contrast", 12, 8, 1) | norm("visual.ln_contrast", 8)
    shapes |= {"visual.proj_contrast": (8, 8)} | pool("visual.attn_pool_caption", 12, 12, 4)
    shapes |= norm("visual.ln_caption", 12)
    shapes |= {"text.cls_emb": (16,), "text.token_embedding.weight": (37, 16), "text.positional_embedding": (10, 16)}
    for index in range(2):
        shapes |= text_block(f"text.transformer.resblocks.{index}", 16)
    shapes |= norm("text.ln_final", 16) | {"text.text_projection": (16, 8)}
    shapes |= text_block("text_decoder.cross_attn.0", 16) | {"text_decoder.text_projection": (16, 37)}
    return draw(shapes)


@pytest.fixture
def folder(tensors, tmp_path):
    """CONCH's checkpoint with the tokenizer of its package beside it, in the form of that file."""
    torch.save({f"module.{name}": held for name, held in tensors.items()}, tmp_path / "pytorch_model.bin")
    place = {"type_id": 0}
    start, end = SPECIAL[1:3]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": word, "special": True}
            | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            for index, word in enumerate(SPECIAL)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}],
        },
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": start} | place},
                {"Sequence": {"id": "A"} | place},
                {"SpecialToken": {"id": end} | place},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                word: {"id": word, "ids": [index], "tokens": [word]} for index, word in ((1, start), (2, end))
            },
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "vocab": {word: index for index, word in enumerate(WORDS)},
            "merges": MERGES,
        },
    }
    (tmp_path / CONCH_FILE).write_text(json.dumps(content))
    return tmp_path


def attend(query, key, value, heads, seen):
    """Return attention's answer by its definition, one head and one query at a time; ``seen`` lists keys per query."""
    size = query.shape[1] // heads
    answer = torch.zeros(len(query), value.shape[1])
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for row, places in enumerate(seen):
            weights = torch.softmax(key[places, part] @ query[row, part] / size**0.5, 0)
            answer[row, part] = weights @ value[places, part]
    return answer


def normed(held, name, tokens, epsilon=1e-5):
    weight, bias = held[f"{name}.weight"], held[f"{name}.bias"]
    return layer_norm(tokens, tokens.shape[-1:], weight, bias, epsilon)


def mapped(held, name, tokens):
    return tokens @ held[f"{name}.weight"].T + held[f"{name}.bias"]


def image_by_hand(held, image):
    """Return CONCH's image vector of one normalised picture of 32 x 32."""
    trunk = "visual.trunk"
    patches = image.unfold(1, 16, 16).unfold(2, 16, 16).permute(1, 2, 0, 3, 4).reshape(4, -1)
    tokens = patches @ held[f"{trunk}.patch_embed.proj.weight"].reshape(12, -1).T
    tokens = torch.cat([held[f"{trunk}.cls_token"][0], tokens + held[f"{trunk}.patch_embed.proj.bias"]])
    tokens = tokens + held[f"{trunk}.pos_embed"][0]
    everything = [list(range(5))] * 5
    for index in range(2):
        block = f"{trunk}.blocks.{index}"
        parts = mapped(held, f"{block}.attn.qkv", normed(held, f"{block}.norm1", tokens, 1e-6)).split(12, dim=1)
        tokens = tokens + mapped(held, f"{block}.attn.proj", attend(*parts, 3, everything))
        inner = gelu(mapped(held, f"{block}.mlp.fc1", normed(held, f"{block}.norm2", tokens, 1e-6)))
        tokens = tokens + mapped(held, f"{block}.mlp.fc2", inner)
    tokens = normed(held, f"{trunk}.norm", tokens, 1e-6)

    pool = "visual.attn_pool_contrast"
    keys, bias = normed(held, f"{pool}.ln_k", tokens), held[f"{pool}.attn.in_proj_bias"]
    query = normed(held, f"{pool}.ln_q", held[f"{pool}.query"]) @ held[f"{pool}.attn.q_proj_weight"].T + bias[:8]
    key = keys @ held[f"{pool}.attn.k_proj_weight"].T + bias[8:16]
    value = keys @ held[f"{pool}.attn.v_proj_weight"].T + bias[16:]
    pooled = mapped(held, f"{pool}.attn.out_proj", attend(query, key, value, 2, everything[:1]))
    return normed(held, "visual.ln_contrast", pooled)[0] @ held["visual.proj_contrast"]


def text_by_hand(held, ids):
    """Return CONCH's text vector of nine token ids, of which zeros are padding."""
    tokens = torch.cat([held["text.token_embedding.weight"][ids], held["text.cls_emb"][None]])
    tokens = tokens + held["text.positional_embedding"]
    seen = [list(range(row + 1)) for row in range(9)]
    seen.append([0] + [index + 1 for index in range(9) if ids[index] != 0])
    for index in range(2):
        block = f"text.transformer.resblocks.{index}"
        weight, bias = held[f"{block}.attn.in_proj_weight"], held[f"{block}.attn.in_proj_bias"]
        parts = (normed(held, f"{block}.ln_1", tokens) @ weight.T + bias).split(16, dim=1)
        tokens = tokens + mapped(held, f"{block}.attn.out_proj", attend(*parts, 4, seen))
        inner = gelu(mapped(held, f"{block}.mlp.c_fc", normed(held, f"{block}.ln_2", tokens)))
        tokens = tokens + mapped(held, f"{block}.mlp.c_proj", inner)
    return normed(held, "text.ln_final", tokens[-1]) @ held["text.text_projection"]


def test_both_sides_keep_the_contract_and_share_one_space(folder):
    image, loaded = image_encoder(CARD, str(folder), SHAPE)
    text, text_loaded = text_encoder(CARD, str(folder / "pytorch_model.bin"), SHAPE)
    check_image_side(image)
    check_text_side(text)
    assert image.dim == text.dim == 8
    assert loaded.tensors == 4 + 2 * 12 + 2 + 11 + 2 + 1
    assert text_loaded.tensors == 3 + 2 * 12 + 2 + 1
    assert "CC-BY-NC-ND" in loaded.licence
    assert CONCH_FILE in text_loaded.notes[0]


def test_the_image_vector_is_that_of_a_calculation_by_hand(folder, tensors):
    encoder = image_encoder(CARD, str(folder), SHAPE)[0]
    pictures = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CARD.mean, CARD.std))
    expected = torch.stack([image_by_hand(tensors, (picture - mean) / std) for picture in pictures])
    torch.testing.assert_close(encoder(pictures), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # torch takes other paths without gradients
        torch.testing.assert_close(encoder(pictures), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sentence", ["tum", "tum or tum", "tum tum tum tum tum tum tum tum tum"])
def test_the_text_vector_is_that_of_a_calculation_by_hand(folder, tensors, sentence):
    encoder = text_encoder(CARD, str(folder), SHAPE)[0]
    ids = encoder.tokenise([sentence])[0]
    expected = text_by_hand(tensors, ids[0])[None]
    torch.testing.assert_close(encoder([sentence]), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(encoder([sentence]), expected, rtol=1e-4, atol=1e-5)


def test_the_class_token_sees_the_sentence_and_one_padding_token_but_not_itself():
    hidden = hidden_positions(torch.tensor([[True, True, True, False, False], [True] * 5]))
    assert (~hidden[0, -1]).tolist() == [True, True, True, True, False, False]
    assert not hidden[1, -1].any()
    assert torch.equal(hidden[:, :-1], torch.ones(2, 6, 6, dtype=torch.bool).triu(1)[:, :-1])


def test_sentences_become_small_letters_without_accents_of_one_length(folder):
    text = text_encoder(CARD, str(folder), SHAPE)[0]
    ids, real = text.tokenise(["Tüm or", "tum " * 30])
    words = ["<start_of_text>", "Ġtum", "Ġ", "o", "r", "<end_of_text>"]
    assert ids[0].tolist() == [WORDS.index(word) for word in words] + [0, 0, 0]
    assert ids[1].tolist() == [1, *7 * [WORDS.index("Ġtum")], 2]
    assert real.sum(1).tolist() == [6, 9]


def test_positions_are_resampled_to_another_side_only_when_asked(folder, tensors):
    large = tiny("conch-224", input_px=64)
    with pytest.raises(WeightsError, match=r"trunk\.pos_embed \(1, 5, 12\) instead of \(1, 17, 12\)"):
        image_encoder(large, str(folder), SHAPE)

    encoder = image_encoder(large, str(folder), SHAPE, resample=True)[0]

    check_image_side(encoder)
    given, held = tensors["visual.trunk.pos_embed"], encoder.frozen.network.trunk.pos_embed
    grid = interpolate(given[:, 1:].reshape(1, 2, 2, 12).permute(0, 3, 1, 2), size=(4, 4), mode="bilinear")
    torch.testing.assert_close(held[:, 1:], grid.permute(0, 2, 3, 1).reshape(1, 16, 12))
    assert torch.equal(held[:, 0], given[:, 0])


@pytest.mark.parametrize("shape", [(1, 7, 12), (5, 12), (1, 5, 8)])
def test_positions_of_no_square_picture_are_refused(tensors, tmp_path, shape):
    save_file(tensors | {"visual.trunk.pos_embed": torch.zeros(shape)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"differs in shape at 1 of .*pos_embed"):
        image_encoder(tiny("conch-224", input_px=64), str(tmp_path / "w.safetensors"), SHAPE, resample=True)


def test_wrong_weights_end_in_a_sentence(tensors, tmp_path):
    check_refusals(lambda weights: image_encoder(CARD, weights, SHAPE), tensors, tmp_path, "visual.")
    check_refusals(lambda weights: text_encoder(CARD, weights, SHAPE), tensors, tmp_path, "text.")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatedRepoError, r"gated: accept its terms at https://huggingface\.co/MahmoodLab/conch, then run: hf auth"),
        (LocalEntryNotFoundError, "not in the cache and the hub cannot be reached"),
    ],
)
def test_the_gated_address_without_consent_or_network_is_a_sentence(monkeypatch, error, words):
    class Response:
        headers: dict = {}  # noqa: RUF012 - stands for an HTTP response
        request = None

    def refuse(*_, **__):
        raise error("x", response=Response()) if error is GatedRepoError else error("x")

    monkeypatch.setattr(weights_module, "hf_hub_download", refuse)
    for build in (image_encoder, text_encoder):
        with pytest.raises(WeightsError, match=words):
            build(CARD, CARD.source, SHAPE)


def test_a_missing_tokenizer_says_where_it_is(folder):
    (folder / CONCH_FILE).unlink()
    with pytest.raises(WeightsError, match=rf"no {CONCH_FILE} could be found.*github\.com/mahmoodlab/CONCH"):
        text_encoder(CARD, str(folder), SHAPE)


@pytest.mark.parametrize("name", ["conch", "conch_224", "conch_text"])
def test_every_name_builds_the_published_size(name, tmp_path):
    with torch.device("meta"), pytest.raises(WeightsError, match=r"absent: no such weights"):
        getattr(module, name)(str(tmp_path / "absent"))


def test_the_sizes_are_those_of_the_published_settings():
    with torch.device("meta"):
        image = ConchImageTower(CARDS["conch"], ConchShape()).state_dict()
        text = ConchTextTower(CARDS["conch"], ConchShape()).state_dict()
    shapes = {name: tuple(held.shape) for name, held in (image | text).items()}
    assert shapes["trunk.pos_embed"] == (1, 785, 768)
    assert shapes["attn_pool_contrast.query"] == (1, 512)
    assert shapes["attn_pool_contrast.attn.k_proj_weight"] == (512, 768)
    assert shapes["proj_contrast"] == (512, 512)
    assert shapes["token_embedding.weight"] == (32007, 768)
    assert shapes["positional_embedding"] == (128, 768)
    assert shapes["text_projection"] == (768, 512)
    assert "trunk.blocks.11.mlp.fc2.bias" in shapes
    assert "transformer.resblocks.11.mlp.c_proj.bias" in shapes
