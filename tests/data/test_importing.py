import shutil

import pytest

from histoproto.data.importing import HeldOut, build_study, candidates_by_name, check_target, divide
from histoproto.data.kinds import SHEETS
from histoproto.data.manifest import write_study
from histoproto.errors import ConfigError, DataError, LabelError
from histoproto.taxonomy import LUAD_HISTOSEG, WSSS4LUAD
from tests.data.miniature import bcss_name, write_bcss, write_pair, write_patch

BCSS = SHEETS["bcss-wsss"]


def study_of(root, out, sheet=BCSS):
    return build_study(out, sheet.taxonomy, candidates_by_name(root, sheet), lambda count: None)


def test_the_original_layout_becomes_a_study_of_references(tmp_path):
    root = write_bcss(tmp_path / "source")
    study = study_of(root, tmp_path / "study")
    assert study.splits == {"train": 10, "val": 2, "test": 1}
    record = study.split("val")[0]
    assert (record.labels, record.group, record.mpp, record.width_px) == (None, "TCGA-D8-A1JL", 0.25, 16)
    assert record.mask == root.resolve() / "val" / "mask" / record.name
    assert study.table["sha256"].str.len().eq(64).all()
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("names", [("train/img", "valid"), ("train", "validation"), ("1.training", "2.validation")])
def test_each_layout_in_use_is_accepted(tmp_path, names):
    root = write_bcss(tmp_path / "source")
    training, validation = names
    shutil.copytree(root / "training", tmp_path / "other" / training)
    shutil.copytree(root / "val", tmp_path / "other" / validation)
    (tmp_path / "other" / validation / "background-mask").mkdir()
    (tmp_path / "other" / training / "Thumbs.db").touch()
    (tmp_path / "other" / training / "._hidden[1111].png").touch()
    assert study_of(tmp_path / "other", tmp_path / "study").splits == {"train": 10, "val": 2}


def test_a_flat_validation_folder_has_no_masks(tmp_path):
    write_patch(tmp_path / "val" / bcss_name("TCGA-A1-A0SK", "1000"), seed=0)
    assert study_of(tmp_path, tmp_path / "study").split("val")[0].mask is None


def test_the_other_data_sets_come_in_with_their_own_labels(tmp_path):
    write_patch(tmp_path / "luad" / "train" / "1031280-2300-27920-[1 0 0 1].png", seed=0)
    luad = study_of(tmp_path / "luad", tmp_path / "study", SHEETS["luad-histoseg"])
    assert luad.split("train")[0].labels == (1, 0, 0, 1)
    assert luad.taxonomy == LUAD_HISTOSEG
    write_patch(tmp_path / "wsss" / "1.training" / "1000048-10025-23243-[1, 0, 1].png", seed=0)
    for split in ("2.validation", "3.testing"):
        write_pair(tmp_path / "wsss" / split, "00.png", seed=1, taxonomy=WSSS4LUAD)
    wsss = study_of(tmp_path / "wsss", tmp_path / "study", SHEETS["wsss4luad"])
    assert wsss.split("train")[0].labels == (1, 0, 1)
    assert {wsss.split("val")[0].group, wsss.split("test")[0].group} == {"val/00", "test/00"}
    assert wsss.split("val")[0].mpp == 1.0


def test_a_validation_split_without_labels_makes_a_holdout_of_whole_groups(tmp_path):
    root = write_bcss(tmp_path)
    division = divide(candidates_by_name(root, BCSS), HeldOut())
    groups = {split: {patch.group for patch in division.candidates if patch.split == split} for split in ("train",)}
    holdout = {patch.group for patch in division.candidates if patch.split == "holdout"}
    assert len(holdout) == 1
    assert not holdout & groups["train"]
    assert division.note is not None
    assert division.note.startswith("val has no image-level labels: 5 of 10 training patches (1 whole groups)")


def test_a_labelled_validation_split_needs_no_holdout(tmp_path):
    division = divide(candidates_by_name(write_bcss(tmp_path, val_labels=True), BCSS), HeldOut())
    assert division.note is None
    assert all(patch.split != "holdout" for patch in division.candidates)


def test_without_validation_split_whole_groups_become_val(tmp_path):
    root = write_bcss(tmp_path)
    shutil.rmtree(root / "val")
    division = divide(candidates_by_name(root, BCSS), HeldOut())
    assert sum(patch.split == "val" for patch in division.candidates) == 5
    assert division.note is not None
    assert division.note.startswith("the source has no val")


def test_one_source_cannot_be_divided_and_this_is_said(tmp_path):
    write_patch(tmp_path / "train" / bcss_name("TCGA-A1-A0SK", "1000"), seed=0)
    division = divide(candidates_by_name(tmp_path, BCSS), HeldOut())
    assert [patch.split for patch in division.candidates] == ["train"]
    assert "no val was made" in (division.note or "")


def test_a_share_above_one_half_is_refused():
    with pytest.raises(ConfigError, match=r"--holdout-fraction 0.9: give a share"):
        HeldOut(holdout_fraction=0.9)


def test_label_errors_name_the_first_file_and_count_the_others(tmp_path):
    for number in range(4):
        write_patch(tmp_path / "train" / f"x{number}[11010].png", seed=number)
    write_patch(tmp_path / "train" / "y[1101].png", seed=9)
    with pytest.raises(LabelError) as caught:
        candidates_by_name(tmp_path, BCSS)
    assert str(caught.value) == (
        "x0[11010].png: 5 label digits, but bcss-wsss has 4 classes (TUM, STR, LYM, NEC); is this a bcss-wsss patch? "
        "(3 more files alike)"
    )


def test_a_training_patch_without_label_is_refused(tmp_path):
    write_patch(tmp_path / "train" / "x.png", seed=0)
    with pytest.raises(LabelError, match=r"^x.png: training patch without labels in its name"):
        candidates_by_name(tmp_path, BCSS)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "no folder called train"),
        (["pictures"], r"found: pictures"),
        (["train"], "no images"),
        (["train", "training"], "train and training both mean train"),
    ],
)
def test_folders_without_images_are_explained(tmp_path, folders, message):
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(DataError, match=message):
        candidates_by_name(tmp_path, BCSS)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        candidates_by_name(tmp_path / "nowhere", BCSS)


def test_one_unreadable_file_is_recorded_but_nothing_readable_is_refused(tmp_path):
    root = write_bcss(tmp_path)
    broken = root / "training" / bcss_name("TCGA-A1-A0S0", "1000", 0)
    broken.write_text("no image")
    study = study_of(root, tmp_path / "study")
    row = study.table[study.table["path"].str.endswith(broken.name)].iloc[0]
    assert len(row["sha256"]) == 64
    assert study.split("train")[0].width_px is None
    for path in root.rglob("*.png"):
        path.write_text("no image")
    with pytest.raises(DataError, match="no image, and neither is any of the 13 files"):
        study_of(root, tmp_path / "study")


def test_a_study_is_written_only_into_a_new_folder_or_over_a_study(tmp_path):
    root = write_bcss(tmp_path / "source")
    out = tmp_path / "out"
    check_target(out, root)
    write_study(study_of(root, out))
    check_target(out, root)
    check_target(root, root)
    with pytest.raises(DataError, match="not empty and holds no study"):
        check_target(tmp_path, root)
    with pytest.raises(DataError, match="is a file"):
        check_target(out / "manifest.csv", root)
