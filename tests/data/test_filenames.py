from pathlib import Path

import pytest

from histoproto.data.filenames import (
    digits_in_name,
    leading_token,
    mpp_in_name,
    numbered_source,
    tcga_patient,
)
from histoproto.data.kinds import SHEETS
from histoproto.errors import LabelError
from histoproto.taxonomy import BCSS_WSSS, LUAD_HISTOSEG, WSSS4LUAD


@pytest.mark.parametrize(
    ("name", "taxonomy", "digits"),
    [
        ("TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500+0[1101].png", BCSS_WSSS, "1101"),
        ("1031280-2300-27920-[1 0 0 1].png", LUAD_HISTOSEG, "1001"),
        ("1000048-10025-23243-[1, 0, 1].png", WSSS4LUAD, "101"),
        ("TCGA-EW-A1PB-DX1_xmin57214_ymin25940_MPP-0.2500+0.png", BCSS_WSSS, None),
    ],
)
def test_the_three_styles_of_labels_and_none_are_read(name, taxonomy, digits):
    assert digits_in_name(Path(name), taxonomy) == digits


def test_brackets_in_a_parent_folder_do_not_matter():
    assert digits_in_name(Path("/data [1111]/train/x[0100].png"), BCSS_WSSS) == "0100"
    assert digits_in_name(Path("/data [1111]/train/x.png"), BCSS_WSSS) is None


@pytest.mark.parametrize(
    "name", ["x[1101]y.png", "x[11][01].png", "x[1101.png", "x[].png", "x[1;0;0;1].png", "x[1 00 1].png", "x[1120].png"]
)
def test_labels_of_another_form_are_refused(name):
    with pytest.raises(LabelError, match=r"^x"):
        digits_in_name(Path(name), BCSS_WSSS)


def test_five_digits_for_four_classes_are_explained():
    with pytest.raises(LabelError) as caught:
        digits_in_name(Path("x[11010].png"), BCSS_WSSS)
    assert str(caught.value) == (
        "x[11010].png: 5 label digits, but bcss-wsss has 4 classes (TUM, STR, LYM, NEC); is this a bcss-wsss patch?"
    )


def test_physical_size_and_source_stand_in_the_name():
    assert mpp_in_name("PHANTOM-01-0007-xmin123_ymin456_MPP-0.5000+0[1101].png") == 0.5
    assert mpp_in_name("t20-112-56-[1, 1, 0].png") is None
    assert tcga_patient("TCGA-A1-A0SK-DX1_xmin4.png") == "TCGA-A1-A0SK"
    assert tcga_patient("TCGA-A1-A0SKX-1.png") is None
    assert numbered_source("PHANTOM-01-0007-xmin1.png") == "PHANTOM-01"
    assert leading_token("t20-112-56-[1, 1, 0].png") == "t20"
    assert leading_token("t20.png") == "t20"


@pytest.mark.parametrize(
    ("kind", "name", "split", "group"),
    [
        ("bcss-wsss", "TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500+0[1101].png", "train", "TCGA-A1-A0SK"),
        ("bcss-wsss", "PHANTOM-12-0007-xmin123_ymin456_MPP-0.5000+0[1101].png", "val", "PHANTOM-12"),
        ("luad-histoseg", "385277-44539-46781.png", "val", "385277"),
        ("wsss4luad", "t20-112-56-[1, 1, 0].png", "train", "t20"),
        ("wsss4luad", "t05.png", "val", "t05"),
        ("wsss4luad", "00.png", "test", "test/00"),
    ],
)
def test_each_data_set_tells_the_source_from_the_name(kind, name, split, group):
    assert SHEETS[kind].group_of(Path("somewhere") / name, split) == group
