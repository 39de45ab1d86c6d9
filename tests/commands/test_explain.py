import contextlib
import csv
import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from histoproto.data.manifest import read_study
from histoproto.data.patches import PatchDataset
from histoproto.prototypes.similarity import cosine_maps
from histoproto.wiring.runs import load_run

DUPLICATE, COPIED, DEAD = 1, 0, 4
"""Rows of an lpd run with 3 prototypes per class: TUM 2 is made a copy of TUM 1, STR 2 never wins."""


@pytest.fixture(scope="module")
def planted(trained, tmp_path_factory):
    """A copy of the run with a duplicate and a dead prototype in its checkpoint."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("planted") / "run")
    file = run / "checkpoints" / "best" / "model.safetensors"
    tensors = load_file(file)
    prototypes = tensors["prototypes"].clone()
    prototypes[DUPLICATE] = prototypes[COPIED]
    prototypes[DEAD] = _never_strong(load_run(run), prototypes.shape[1])
    save_file({**tensors, "prototypes": prototypes}, file)
    return run


def _never_strong(run, dim):
    """Return the one of many random vectors that is least like anything on the training patches."""
    patches = PatchDataset(read_study(run.study).split("train"))
    images = torch.stack([patches[index].image for index in range(len(patches))]).float() / 255
    candidates = 20 * torch.randn(2000, dim, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = run.method.backbone(images)[-1]
        maps = cosine_maps(features, run.method.projections[-1](candidates))
    return candidates[maps.amax((0, 2, 3)).argmin()]


@pytest.fixture(scope="module")
def explained(command, planted, tmp_path_factory):
    """The folder that the command wrote, with what it printed beside it."""
    folder = tmp_path_factory.mktemp("explained") / "out"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert command("explain", planted, "--out", folder) == 0
    (folder.parent / "printed").write_text(printed.getvalue())
    return folder


@pytest.fixture(scope="module")
def again(command, planted, explained, tmp_path_factory):
    """The same folder, in which an older call had left one more sheet, after a call that looked at one patch."""
    folder = shutil.copytree(explained, tmp_path_factory.mktemp("again") / "out")
    (folder / "sheets" / "99-OLD-1.png").touch()
    record = record_of(folder)
    record["prototypes"].append({"sheet": "sheets/99-OLD-1.png"})
    (folder / "prototypes.json").write_text(json.dumps(record))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert command("explain", planted, "--out", folder, "--patches", 1, "--json") == 0
    assert json.loads(printed.getvalue()) == {"folder": str(folder), **record_of(folder)}
    return folder


def record_of(folder):
    return json.loads((folder / "prototypes.json").read_text())


def test_a_planted_dead_and_a_planted_duplicate_prototype_are_named(explained):
    warnings = {(warning["kind"], *warning["prototypes"]) for warning in record_of(explained)["warnings"]}
    assert ("dead", "STR 2") in warnings
    assert any({"TUM 1", "TUM 2"} <= set(names) for kind, *names in warnings if kind == "duplicate")
    assert not any("STR 2" in names for kind, *names in warnings if kind == "duplicate")


def test_the_terminal_names_them_and_says_what_to_do(explained):
    printed = (explained.parent / "printed").read_text()
    assert "STR 2 is dead" in printed
    assert "fewer prototypes" in printed
    assert "diversity_weight" in printed
    assert printed.rstrip().endswith("in a browser")


def test_shares_of_a_class_add_up_to_one_and_a_copy_takes_as_much_as_its_original(explained):
    entries = record_of(explained)["prototypes"]
    shares = [entry["activation_share"] for entry in entries]
    for start in range(0, len(shares), 3):
        assert sum(shares[start : start + 3]) == pytest.approx(1)
    assert shares[DEAD] < 0.01
    assert shares[DUPLICATE] == pytest.approx(shares[COPIED])


def test_the_matrices_are_symmetric_and_one_on_the_diagonal(explained):
    for name in ("cosine", "correlation"):
        matrix = np.array(record_of(explained)[name])
        assert matrix.shape == (12, 12)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
        np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-6)
    assert np.array(record_of(explained)["cosine"])[DUPLICATE, COPIED] == pytest.approx(1, abs=1e-5)


def test_every_prototype_has_a_sheet_a_row_and_its_nearest_patches(explained):
    entries = record_of(explained)["prototypes"]
    with (explained / "prototypes.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["name"] for row in rows] == [entry["name"] for entry in entries]
    assert rows[DEAD]["dead"] == "1"
    assert "TUM 2" in rows[COPIED]["duplicate_of"]
    for entry in entries:
        with Image.open(explained / entry["sheet"]) as sheet:
            assert sheet.width > 400
        activations = [near["activation"] for near in entry["nearest"]]
        assert activations == sorted(activations, reverse=True)
        assert activations[0] == pytest.approx(entry["highest"])
    assert len(list((explained / "sheets").iterdir())) == len(entries)


def test_the_page_needs_nothing_from_outside(explained):
    page = (explained / "prototypes.html").read_text()
    assert page.count("data:image/jpeg") > 12 * 6
    assert "http" not in page
    assert "STR 2 is dead" in page


def test_the_marked_spot_is_where_the_map_is_highest(planted, explained):
    run = load_run(planted)
    entry = record_of(explained)["prototypes"][5]
    near = entry["nearest"][0]
    image = torch.from_numpy(np.asarray(Image.open(near["patch"])).transpose(2, 0, 1).copy())[None].float() / 255
    with torch.inference_mode():
        values = run.method.prototype_maps(image)[0, 5]
    row, column = divmod(int(values.argmax()), values.shape[1])
    assert near["spot"][:2] == pytest.approx([column / values.shape[1], row / values.shape[0]])


def test_few_patches_leave_other_classes_without_a_share(again):
    record = record_of(again)
    unknown = [name for name, count in record["labelled"].items() if count == 0]
    assert record["patches"] == 1
    assert unknown
    for entry in record["prototypes"]:
        assert (entry["activation_share"] is None) == (entry["class"] in unknown)


def test_a_second_call_replaces_the_sheets_of_the_first(again):
    assert len(list((again / "sheets").iterdir())) == 12


def test_a_split_that_does_not_exist_leaves_nothing_behind(command, planted, tmp_path, capsys):
    assert command("explain", planted, "--out", tmp_path / "out", "--split", "none") == 2
    assert "no patches in split" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_patches_are_refused(command, planted, capsys):
    assert command("explain", planted, "--patches", 0) == 2
    assert "--patches 0" in capsys.readouterr().err
