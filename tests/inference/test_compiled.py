import os
import subprocess
import sys

import pytest
import torch

from histoproto.inference.compiled import CACHE_VARIABLE, check_compiling

COMPILED = """
from dataclasses import replace

import torch
from histoproto.backbones.mit import MiT, MiTShape
from histoproto.inference.compiled import compile_maps
from histoproto.inference.evidence import tile_maps
from histoproto.inference.settings import InferenceSettings
from histoproto.presets.registry import METHODS
from tests.methods.law_cases import Case, tiny_parts

case = Case("lpd", "corrected")
settings = case.settings()
parts = tiny_parts(settings, seed=0)
pyramids = [parts.backbone, MiT(MiTShape((8, 16, 40, 64), (1, 1, 1, 1)))]
images = [torch.rand(1, 3, *size) for size in [(64, 64), (64, 96)]]
for backbone in pyramids:
    method = METHODS["lpd"].build(replace(parts, backbone=backbone), settings).eval()
    inference = InferenceSettings(views="none")
    expected = [tile_maps(method, image, inference) for image in images]
    compile_maps(method)
    for image, maps in zip(images, expected):
        for one, other in zip(tile_maps(method, image, inference), maps):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
"""


def compile_in(cache, **environment):
    """Compile in a process of its own, since freezing is for good; what is compiled goes into the user's cache."""
    clean = {name: value for name, value in os.environ.items() if name != CACHE_VARIABLE}
    environment = {**clean, "XDG_CACHE_HOME": str(cache), **environment}
    command = [sys.executable, "-c", COMPILED]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_compiled_maps_of_several_sizes_are_those_of_the_network_and_stay_in_the_users_cache(tmp_path):
    ended = compile_in(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert any((tmp_path / "histoproto" / "compiled").iterdir())


def test_a_machine_without_compiler_is_told_what_is_missing(tmp_path):
    ended = compile_in(tmp_path, CXX="/nowhere/c++")
    assert "ConfigError: torch cannot compile here (InvalidCxxCompiler" in ended.stderr
    assert "apt install g++" in ended.stderr


def test_where_the_users_cache_cannot_be_written_to_torchs_own_folder_serves(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    kept = check_compiling(torch.device("cpu"))
    assert kept.is_dir()
    assert "histoproto" not in kept.parts
