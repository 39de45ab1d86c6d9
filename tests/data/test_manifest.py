import json

import pandas as pd
import pytest

from histoproto.data.manifest import Study, make_table, read_study, stored_path, write_study
from histoproto.errors import ConfigError, DataError, LabelError
from histoproto.taxonomy import BCSS_WSSS


def row(path, split="train", **entries):
    return {"path": path, "sha256": "ab", "split": split, "group": "g", "labels": "1101", **entries}


def make_study(folder, *rows):
    return Study(folder, BCSS_WSSS, make_table(list(rows)))


def test_what_is_written_is_read_again(tmp_path):
    study = make_study(
        tmp_path,
        row("b.png", mpp=0.25, width_px=224, height_px=224),
        row("a.png", "val", labels=None, mask="m/a.png", sha256=None),
    )
    write_study(study)
    again = read_study(tmp_path)
    pd.testing.assert_frame_equal(again.table, study.table)
    assert again.taxonomy == BCSS_WSSS
    assert again.data_hash() == study.data_hash()
    assert pd.read_csv(tmp_path / "manifest.csv", dtype=str)["labels"].tolist()[0] == "1101"
    assert not list(tmp_path.glob(".*"))


def test_a_split_comes_in_the_order_of_its_paths_with_absolute_places(tmp_path):
    study = make_study(tmp_path, row("b.png"), row("a.png"), row("/far/0.png"), row("v.png", "val", mask="v.mask.png"))
    records = study.split("train")
    assert [str(record.path) for record in records] == ["/far/0.png", f"{tmp_path}/a.png", f"{tmp_path}/b.png"]
    assert records[0].labels == (1, 1, 0, 1)
    assert (records[0].mpp, records[0].width_px, records[0].mask) == (None, None, None)
    assert study.split("val")[0].mask == tmp_path / "v.mask.png"


def test_an_absent_split_names_the_ones_there_are(tmp_path):
    study = make_study(tmp_path, row("b.png"), row("v.png", "val"))
    with pytest.raises(DataError, match=r"no patches in split 'test'; it has: train \(1\), val \(1\)"):
        study.split("test")


def test_a_folder_without_manifest_is_no_study(tmp_path):
    with pytest.raises(DataError, match=r"is no study \(no manifest.parquet\); make one with: histoproto data import"):
        read_study(tmp_path)


@pytest.mark.parametrize("name", ["manifest.parquet", "taxonomy.json"])
def test_a_damaged_study_is_said_to_be_so(tmp_path, name):
    write_study(make_study(tmp_path, row("b.png")))
    (tmp_path / name).write_text("{rubbish")
    with pytest.raises(DataError, match="cannot be read"):
        read_study(tmp_path)


def test_a_taxonomy_without_classes_is_refused(tmp_path):
    write_study(make_study(tmp_path, row("b.png")))
    (tmp_path / "taxonomy.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(ConfigError, match="classes"):
        read_study(tmp_path)


def test_labels_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(LabelError, match="'110' are not 4 digits"):
        make_study(tmp_path, row("b.png", labels="110")).split("train")


def test_the_data_hash_sees_content_and_not_place_or_order(tmp_path):
    reference = make_study(tmp_path, row("a.png"), row("b.png")).data_hash()
    assert make_study(tmp_path / "x", row("/y/b.png"), row("c/a.png")).data_hash() == reference
    for change in ({"sha256": "cd"}, {"labels": "1111"}, {"split": "val"}, {"group": "h"}, {"mask_sha256": "ef"}):
        assert make_study(tmp_path, row("a.png"), row("b.png", **change)).data_hash() != reference


def test_the_split_that_chooses_a_checkpoint_has_labels(tmp_path):
    labelled, unlabelled = row("v.png", "val"), row("v.png", "val", labels=None)
    assert make_study(tmp_path, row("a.png"), labelled).choosing_split == "val"
    assert make_study(tmp_path, row("a.png"), unlabelled, row("h.png", "holdout")).choosing_split == "holdout"
    with pytest.raises(DataError, match="--holdout-fraction"):
        _ = make_study(tmp_path, row("a.png"), unlabelled).choosing_split


def test_paths_inside_the_study_are_relative_and_links_keep_their_name(tmp_path):
    study, far = tmp_path / "study", tmp_path / "far"
    study.mkdir()
    far.mkdir()
    (far / "blob").touch()
    (study / "x[1].png").symlink_to(far / "blob")
    assert stored_path(study / "x[1].png", study) == "x[1].png"
    assert stored_path(far / "y.png", study) == f"{far.resolve()}/y.png"
