import os
import subprocess
import sys

import pytest

COMPILED = """
import torch
from histoproto.inference.compiled import compile_maps
from histoproto.inference.evidence import tile_maps
from histoproto.inference.settings import InferenceSettings
from tests.methods.law_cases import Case

method, _ = Case("lpd", "corrected").build()
method.eval()
settings = InferenceSettings(views="d4")
images = [torch.rand(1, 3, *size) for size in [(64, 64), (64, 96)]]
expected = [tile_maps(method, image, settings) for image in images]
compile_maps(method)
for image, maps in zip(images, expected):
    for one, other in zip(tile_maps(method, image, settings), maps):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
"""


def compile_in(cache, **environment):
    """Compile in a process of its own, since freezing is for good; what is compiled goes into the user's cache."""
    clean = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    environment = {**clean, "XDG_CACHE_HOME": str(cache), **environment}
    command = [sys.executable, "-c", COMPILED]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_compiled_maps_of_any_size_are_those_of_the_network_and_stay_in_the_users_cache(tmp_path):
    ended = compile_in(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert str(tmp_path / "histoproto" / "compiled") in ended.stderr
    assert any((tmp_path / "histoproto" / "compiled").iterdir())


def test_a_machine_without_compiler_is_told_what_is_missing(tmp_path):
    ended = compile_in(tmp_path, CXX="/nowhere/c++")
    assert "ConfigError: torch cannot compile here (InvalidCxxCompiler" in ended.stderr
    assert "apt install g++" in ended.stderr
