import json
import shutil

import numpy as np
import pytest
from PIL import Image

from histoproto.cli import main
from histoproto.masks import write_mask
from histoproto.taxonomy import BCSS_WSSS
from tests.data.miniature import bcss_name, write_bcss, write_patch


@pytest.fixture
def study(tmp_path, capsys):
    """Return a folder of labelled data that is a study too."""
    root = write_bcss(tmp_path / "study", val_labels=True)
    with pytest.raises(SystemExit):
        main(["data", "import", "bcss-wsss", str(root), "--out", str(root)])
    capsys.readouterr()
    return root


def check(study, *options):
    with pytest.raises(SystemExit) as end:
        main(["data", "check", str(study), *options])
    return end.value.code


def test_a_sound_study_leads_on_to_training(study, capsys):
    assert check(study) == 0
    out = capsys.readouterr().out
    assert "13 patches checked: nothing to complain about." in out
    assert out.endswith(f"Next: histoproto train lpd {study} --run runs/lpd\n")


def test_each_problem_is_a_row_with_file_and_fix_and_errors_end_with_2(study, capsys):
    for number in range(2):
        (study / "training" / bcss_name("TCGA-A1-A0S0", ("1000", "0100")[number], number)).write_text("text")
    write_mask(next((study / "test" / "mask").iterdir()), np.full((16, 16), 7, np.uint8), BCSS_WSSS)
    assert check(study) == 2
    out = capsys.readouterr().out
    words = " ".join(out.replace("│", " ").split())
    assert "(and 1 more)" in words
    assert "mask value 7 is" in words
    assert "3 errors" in words
    assert "mend the errors" in words


def as_text(patch, image, mask):
    patch.write_text("text")


def truncated(patch, image, mask):
    patch.write_bytes(patch.read_bytes()[:400])


def sixteen_bit(patch, image, mask):
    Image.fromarray(np.full((16, 16), 40000, np.uint16)).save(patch)


def transparent(patch, image, mask):
    Image.fromarray(np.zeros((16, 16, 4), np.uint8)).save(patch)


def small_mask(patch, image, mask):
    write_mask(mask, np.zeros((8, 8), np.uint8), BCSS_WSSS)


def mask_value_7(patch, image, mask):
    write_mask(mask, np.full((16, 16), 7, np.uint8), BCSS_WSSS)


def same_source(patch, image, mask):
    write_patch(patch.with_name(bcss_name("TCGA-EW-A1PB", "1000", 60)), seed=60)


def same_pixels(patch, image, mask):
    shutil.copy(patch, image)


def no_lymphocytes(patch, image, mask):
    for path in patch.parent.glob("*[[]0010[]].png"):
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (as_text, "not an image, whatever its name says"),
        (truncated, "cannot be decoded ("),
        (sixteen_bit, "I;16 pixels of more than 8 bits per channel"),
        (transparent, "100% of the pixels are transparent and so have no colour"),
        (small_mask, "mask of 8 x 8 px for an image of 16 x 16 px"),
        (mask_value_7, "mask value 7 is unknown"),
        (same_source, "source TCGA-EW-A1PB is in test and train"),
        (same_pixels, "same pixels in two splits"),
        (no_lymphocytes, "class LYM has no example in train"),
    ],
)
def test_each_bad_input_is_one_error_and_exit_code_2(study, capsys, harm, sentence):
    image = next((study / "test" / "img").iterdir())
    harm(study / "training" / bcss_name("TCGA-A1-A0S0", "1000", 0), image, study / "test" / "mask" / image.name)
    with pytest.raises(SystemExit):
        main(["data", "import", "bcss-wsss", str(study), "--out", str(study)])
    capsys.readouterr()
    assert check(study, "--json") == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["severity"] == "error"
    assert problem["what"].startswith(sentence)
    assert problem["fix"]


def test_all_files_are_listed_for_machines(study, capsys):
    (study / "training" / bcss_name("TCGA-A1-A0S0", "1000", 0)).unlink()
    assert check(study, "--json") == 2
    report = json.loads(capsys.readouterr().out)
    assert report["patches"] == 13
    assert report["problems"] == [
        {
            "severity": "error",
            "what": "no such file",
            "files": ["training/" + bcss_name("TCGA-A1-A0S0", "1000", 0)],
            "fix": "was it moved after the import?",
        }
    ]


def test_warnings_alone_end_with_0(study, capsys):
    shutil.copy(
        study / "training" / bcss_name("TCGA-A1-A0S0", "1000", 0),
        study / "training" / bcss_name("TCGA-A1-A0S0", "1000", 99),
    )
    with pytest.raises(SystemExit):
        main(["data", "import", "bcss-wsss", str(study), "--out", str(study)])
    assert check(study) == 0
    assert "1 warning." in capsys.readouterr().out


def test_what_is_no_study_is_said_in_one_sentence(tmp_path, capsys):
    write_patch(tmp_path / "x.png", seed=0)
    assert check(tmp_path) == 2
    assert capsys.readouterr().err == (
        f"DataError: {tmp_path} is no study (no manifest.parquet); make one with: histoproto data import\n"
    )
