"""Shapes are checked in every test: jaxtyping and beartype watch the whole package from here on."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the expected numbers are those of a CPU
install_import_hook("histoproto", "beartype.beartype")


@pytest.fixture(scope="session")
def golden():
    """Return a function that loads golden tensors by name."""
    from safetensors.torch import load_file

    return lambda name: load_file(Path(__file__).parent / "golden" / f"{name}.safetensors")


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)
