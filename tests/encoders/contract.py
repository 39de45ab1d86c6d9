"""What every encoder keeps, and files that are wrong in every way."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from histoproto.encoders.cards import CARDS
from histoproto.errors import WeightsError

SENTENCES = ["a tumour", "stroma with a long and fibrous tail"]


def tiny(name, input_px=32, dim=8):
    return replace(CARDS[name], input_px=input_px, dim=dim)


def draw(shapes):
    return {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}


def check_image_side(encoder):
    encoder.train()
    images = torch.rand(2, 3, 24, 40, requires_grad=True)

    vectors = encoder(images)
    vectors.square().sum().backward()

    assert vectors.shape == (2, encoder.dim)
    assert (images.grad.abs().amax((1, 2, 3)) > 0).all()
    assert not list(encoder.parameters())  # loaded weights stay out of optimiser and checkpoints
    assert not encoder.state_dict()
    with torch.no_grad():
        torch.testing.assert_close(encoder(images[:1]), vectors[:1], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(encoder(images.flip(1)), vectors, atol=1e-3)  # red and blue are told apart


def check_text_side(encoder):
    encoder.train()
    vectors = encoder(SENTENCES)
    assert vectors.shape == (2, encoder.dim)
    assert not vectors.requires_grad
    assert not list(encoder.parameters())
    torch.testing.assert_close(encoder(SENTENCES[:1]), vectors[:1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
    assert encoder(["tumour " * 500]).isfinite().all()


def check_refusals(build, tensors, folder, tower):
    """``build(weights)`` ends in one sentence for each kind of wrong file; ``tower`` is the prefix of its tensors."""
    with pytest.raises(WeightsError, match="no such weights file"):
        build(str(folder / "absent.bin"))

    damaged = folder / "damaged.bin"
    torch.save(tensors, damaged)
    damaged.write_bytes(damaged.read_bytes()[:-500])
    with pytest.raises(WeightsError, match="truncated or no weights file"):
        build(str(damaged))

    wrong = folder / "wrong.safetensors"
    name = next(name for name, held in tensors.items() if name.startswith(tower) and held.ndim == 2)
    for changed, words in (
        ({key: held for key, held in tensors.items() if key != name}, "lacks 1 of"),
        (tensors | {name: torch.zeros(3, 2)}, r"\(3, 2\) instead of"),
        (tensors | {f"{tower}extra": torch.zeros(1)}, "no place for 1 of"),
    ):
        save_file(changed, wrong)
        with pytest.raises(WeightsError, match=words):
            build(str(wrong))
