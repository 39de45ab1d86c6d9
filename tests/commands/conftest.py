import pytest

from histoproto.cli import main
from histoproto.data.phantom import write_patches, write_slide


def run_command(*arguments):
    """Run a command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.fixture(scope="session")
def command():
    return run_command


@pytest.fixture(scope="session")
def patches(tmp_path_factory):
    """A small folder of labelled patches in the BCSS-WSSS layout."""
    folder = tmp_path_factory.mktemp("phantom") / "patches"
    write_patches(folder, train=40, val=8, test=6, size_px=64, seed=3, on_progress=lambda _count: None)
    return folder


@pytest.fixture(scope="session")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    write_slide(path, width_px=320, height_px=256, seed=3)
    return path


@pytest.fixture(scope="session")
def study(patches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "study"
    assert run_command("data", "import", "bcss-wsss", patches, "--out", folder) == 0
    return folder


@pytest.fixture(scope="session")
def trained(study, tmp_path_factory):
    """A run of two epochs; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "lpd"
    assert run_command("train", "lpd", study, "--run", folder, "--epochs", 2, "--batch", 16) == 0
    return folder
