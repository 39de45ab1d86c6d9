import pytest

from histoproto.cli import main
from histoproto.data.phantom import write_patches


@pytest.fixture(scope="session")
def succeeds():
    """Return a function that runs a command line in this process and expects it to end well."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert stop.value.code == 0, arguments

    return run


@pytest.fixture(scope="session")
def tiny_study(succeeds, tmp_path_factory):
    """Labelled patches of 64 px, imported; tests must not change it."""
    folder = tmp_path_factory.mktemp("laws")
    write_patches(folder / "patches", train=32, val=4, test=4, size_px=64, seed=3, on_progress=lambda _count: None)
    succeeds("data", "import", "bcss-wsss", folder / "patches", "--out", folder / "study")
    return folder / "study"
