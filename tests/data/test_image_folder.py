import json

import pytest

from histoproto.data.image_folder import candidates_by_table, make_taxonomy, notes_on, read_taxonomy
from histoproto.errors import ConfigError, DataError, LabelError
from histoproto.taxonomy import BCSS_WSSS
from tests.data.miniature import write_patch

TWO = make_taxonomy("mine", "TUM, STR")


def table(folder, text):
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_one_column_per_class_with_all_optional_columns(tmp_path):
    file = table(
        tmp_path,
        "path,TUM,STR,split,group,mpp,mask\na.png,1,0,train,P1,0.5,\nsub/b.png,0,1,Validation,P2,,m/b.png\n",
    )
    first, second = candidates_by_table(tmp_path, file, TWO)
    assert (first.path, first.labels, first.split, first.group, first.mpp, first.mask) == (
        tmp_path / "a.png",
        "10",
        "train",
        "P1",
        0.5,
        None,
    )
    assert (second.labels, second.split, second.mpp, second.mask) == ("01", "val", None, tmp_path / "m" / "b.png")


@pytest.mark.parametrize("labels", ["10", '"[1, 0]"', "[1 0]", "1 0"])
def test_one_labels_column_in_each_style(tmp_path, labels):
    file = table(tmp_path, f"filename,labels\nTCGA-A1-A0SK-x_MPP-0.2500.png,{labels}\n")
    (patch,) = candidates_by_table(tmp_path, file, TWO)
    assert (patch.labels, patch.split, patch.group, patch.mpp) == ("10", "train", "TCGA-A1-A0SK", 0.25)


def test_semicolons_and_a_byte_order_mark_as_spreadsheets_write_them(tmp_path):
    file = table(tmp_path, "\ufeffpath;TUM;STR\na.png;1;0\n")
    assert candidates_by_table(tmp_path, file, TWO)[0].labels == "10"


def test_empty_labels_are_unknown_outside_train_and_refused_inside(tmp_path):
    file = table(tmp_path, "path,TUM,STR,split\na.png,,,test\n")
    assert candidates_by_table(tmp_path, file, TWO)[0].labels is None
    file = table(tmp_path, "path,TUM,STR\na.png,,\nb.png,,\n")
    with pytest.raises(LabelError, match=r"^a.png: training patch without labels .* \(1 more file alike\)"):
        candidates_by_table(tmp_path, file, TWO)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("image,TUM,STR\na.png,1,0\n", DataError, "no column path or filename among image, TUM, STR"),
        ("path,TUM\na.png,1\n", DataError, "no column labels and none called STR"),
        ("path,TUM,STR\n", DataError, "no rows"),
        ("path,TUM,STR\na.png,1,0\na.png,1,0\n", DataError, "a.png has more than one row"),
        ("path,TUM,STR\na.png,1,\n", LabelError, "not digits"),
        ("path,TUM,STR\na.png,2,0\n", LabelError, "digit other than 0"),
        ("path,labels\na.png,110\n", LabelError, "3 label digits, but mine has 2 classes"),
        ("path,TUM,STR,split\na.png,1,0,third\n", DataError, "split 'third'; use train"),
        ("path,TUM,STR,mpp\na.png,1,0,-1\n", DataError, "mpp '-1'"),
        ("path,TUM,STR,mpp\na.png,1,0,fine\n", DataError, "mpp 'fine'"),
        ('path,TUM,STR\n"a.png,1,0\n', DataError, "not a CSV table"),
    ],
)
def test_tables_that_cannot_be_understood_are_explained(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        candidates_by_table(tmp_path, table(tmp_path, text), TWO)


def test_a_missing_table_and_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"labels.csv: no such table; name the CSV file of the labels with --labels"):
        candidates_by_table(tmp_path, tmp_path / "labels.csv", TWO)
    with pytest.raises(DataError, match="no such folder"):
        candidates_by_table(tmp_path / "nowhere", tmp_path / "labels.csv", TWO)


def test_images_without_row_and_unknown_sources_are_said(tmp_path):
    write_patch(tmp_path / "a.png", seed=0)
    write_patch(tmp_path / "sub" / "b.png", seed=1)
    candidates = candidates_by_table(tmp_path, table(tmp_path, "path,TUM,STR\na.png,1,0\n"), TWO)
    left_out, sources = notes_on(tmp_path, candidates)
    assert left_out == "1 images have no row in the table and were left out, the first is sub/b.png"
    assert "each file counts as its own source" in sources


def test_default_colours_differ_for_any_number_of_classes():
    taxonomy = make_taxonomy("many", ",".join(f"c{number}" for number in range(20)))
    assert len(set(taxonomy.colours)) == 20


def test_a_taxonomy_file_is_read_strictly(tmp_path):
    file = tmp_path / "taxonomy.json"
    file.write_text(json.dumps(BCSS_WSSS.to_dict()))
    assert read_taxonomy(file) == BCSS_WSSS
    for text in ("[]", "{rubbish"):
        file.write_text(text)
        with pytest.raises(ConfigError, match="not a JSON taxonomy"):
            read_taxonomy(file)
    with pytest.raises(ConfigError, match="no such file"):
        read_taxonomy(tmp_path / "absent.json")
