import json
import shutil

import pytest

from histoproto.cli import main
from histoproto.data.manifest import read_study
from tests.data.miniature import bcss_name, write_bcss, write_patch


@pytest.fixture
def run(capsys):
    """Return a function that runs the command line and gives exit code, output and error output."""

    def go(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return go


def test_an_import_shows_the_splits_and_the_next_command(tmp_path, run):
    root = write_bcss(tmp_path / "source")
    code, out, _ = run("data", "import", "bcss-wsss", root, "--out", tmp_path / "study")
    assert code == 0
    assert "Note: val has no image-level labels: 5 of 10 training patches" in out
    assert out.endswith(f"Next: histoproto data check {tmp_path / 'study'}\n")
    assert read_study(tmp_path / "study").splits == {"train": 5, "holdout": 5, "val": 2, "test": 1}


def test_the_same_summary_for_machines(tmp_path, run):
    root = write_bcss(tmp_path / "source", val_labels=True)
    code, out, _ = run("data", "import", "bcss-wsss", root, "--out", tmp_path / "study", "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["splits"]["train"] == {
        "patches": 10,
        "groups": 2,
        "labelled": 10,
        "masks": 0,
        "per_class": {"TUM": 4, "STR": 4, "LYM": 2, "NEC": 4},
    }
    assert summary["data_hash"] == read_study(tmp_path / "study").data_hash()


def test_a_study_may_be_imported_again_and_lie_in_the_data_itself(tmp_path, run):
    root = write_bcss(tmp_path / "source")
    for _ in range(2):
        assert run("data", "import", "bcss-wsss", root, "--out", root, "--holdout-fraction", "0")[0] == 0
    study = read_study(root)
    assert study.splits == {"train": 10, "val": 2, "test": 1}
    assert study.table["path"].str.startswith("training/").sum() == 10
    shutil.move(root, tmp_path / "moved")
    assert read_study(tmp_path / "moved").split("val")[0].path.is_file()


def test_any_folder_with_a_table_becomes_a_study(tmp_path, run):
    for number in range(4):
        write_patch(tmp_path / "mine" / f"p{number}.png", seed=number)
    rows = "".join(f"p{number}.png,{number % 2},{(number + 1) % 2},S{number}\n" for number in range(4))
    (tmp_path / "mine" / "labels.csv").write_text("path,TUM,STR,group\n" + rows)
    arguments = ("data", "import", "folder", tmp_path / "mine", "--out", tmp_path / "study")
    code, _, err = run(*arguments)
    assert code == 2
    assert "--classes TUM,STR" in err
    code, out, _ = run(*arguments, "--classes", "TUM,STR", "--val-fraction", "0.5")
    assert code == 0
    assert "the source has no val: 2 of 4 training patches" in out
    study = read_study(tmp_path / "study")
    assert (study.taxonomy.name, study.taxonomy.classes) == ("mine", ("TUM", "STR"))
    assert study.splits == {"train": 2, "val": 2}


def make_empty(root):
    root.mkdir()


def make_unlabelled(root):
    write_patch(root / "train" / "x.png", seed=0)


def make_five_digits(root):
    write_patch(root / "train" / "x[11010].png", seed=0)


def make_text(root):
    (root / "train").mkdir(parents=True)
    (root / "train" / "x[1101].png").write_text("text")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (make_empty, "DataError: {root}: no folder called train"),
        (make_unlabelled, "LabelError: x.png: training patch without labels in its name"),
        (make_five_digits, "LabelError: x[11010].png: 5 label digits, but bcss-wsss has 4 classes"),
        (make_text, "DataError: {root}/train/x[1101].png: no image"),
    ],
)
def test_bad_sources_end_in_one_sentence(tmp_path, run, make, sentence):
    root = tmp_path / "source"
    make(root)
    code, out, err = run("data", "import", "bcss-wsss", root, "--out", tmp_path / "study")
    assert (code, out) == (2, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith(sentence.format(root=root))
    assert not (tmp_path / "study").exists()


def test_other_bad_requests_end_in_one_sentence(tmp_path, run):
    root = write_bcss(tmp_path / "source")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    for arguments, sentence in [
        (("bcss-wsss", root, "--out", tmp_path / "full"), "DataError: "),
        (("bcss-wsss", root, "--out", tmp_path / "s", "--classes", "A"), "ConfigError: --labels, --classes"),
        (("bcss-wsss", root, "--out", tmp_path / "s", "--val-fraction", "2"), "ConfigError: --val-fraction 2"),
        (("mnist", root, "--out", tmp_path / "s"), "UsageError: "),
    ]:
        code, _, err = run("data", "import", *arguments)
        assert code == 2
        assert err.startswith(sentence)


def test_names_with_brackets_are_shown_as_they_are(tmp_path, run):
    root = write_bcss(tmp_path / "a [bold] source")
    (root / "training" / bcss_name("TCGA-A1-A0S0", "1000", 0)).write_text("text")
    study = root.parent / "a [red] study"
    assert f"check {study}\n" in run("data", "import", "bcss-wsss", root, "--out", study)[1]
    code, out, _ = run("data", "check", study)
    assert code == 2
    assert "[bold]" in out.replace("\n", "")
