import json

import pytest

from histoproto.cli import main
from histoproto.data.manifest import read_study


def test_a_phantom_is_a_sound_study_with_a_slide(tmp_path, capsys):
    folder = tmp_path / "phantom"
    sizes = ["--train", "4", "--val", "4", "--test", "4", "--size-px", "32", "--slide-px", "256"]
    with pytest.raises(SystemExit) as end:
        main(["data", "phantom", str(folder), *sizes, "--json"])
    assert end.value.code == 0
    summary = json.loads(capsys.readouterr().out)
    assert {split: row["patches"] for split, row in summary["splits"].items()} == {"train": 4, "val": 4, "test": 4}
    assert read_study(folder).data_hash() == summary["data_hash"]
    assert {path.name for path in (folder / "slides").iterdir()} == {"phantom.tif", "phantom.mask.png"}
    assert read_study(folder).table["path"].str.match("training/|val/img/|test/img/").all()
    with pytest.raises(SystemExit) as end:
        main(["data", "check", str(folder)])
    assert end.value.code == 0


def test_a_folder_in_use_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(SystemExit) as end:
        main(["data", "phantom", str(tmp_path)])
    assert end.value.code == 2
    assert "DataError" in capsys.readouterr().err


def test_a_slide_too_small_is_refused_before_anything_is_made(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["data", "phantom", str(tmp_path / "new"), "--slide-px", "100"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("ConfigError: --slide-px 100: ")
    assert not (tmp_path / "new").exists()


def test_what_a_killed_command_left_is_no_study_and_in_nobody_s_way(tmp_path):
    left = tmp_path / ".phantom.writing" / "training"
    left.mkdir(parents=True)
    (left / "half.png").touch()
    folder = tmp_path / "phantom"
    sizes = ["--train", "2", "--val", "1", "--test", "1", "--size-px", "32", "--slide-px", "0"]
    with pytest.raises(SystemExit) as end:
        main(["data", "phantom", str(folder), *sizes])
    assert end.value.code == 0
    assert len(read_study(folder).table) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]
