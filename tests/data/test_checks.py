import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from histoproto.data.checks import check_study
from histoproto.data.importing import build_study, candidates_by_name
from histoproto.data.kinds import SHEETS
from histoproto.data.manifest import read_study, write_study
from histoproto.masks import write_mask
from histoproto.taxonomy import BCSS_WSSS
from tests.data.miniature import SIZE_PX, bcss_name, pixels, write_bcss, write_pair, write_patch

SHEET = SHEETS["bcss-wsss"]


@pytest.fixture
def source(tmp_path):
    return write_bcss(tmp_path / "source")


def check(source):
    """Import and check; return what is wrong by severity and words, with file names."""
    folder = source.parent / "study"
    write_study(build_study(folder, SHEET.taxonomy, candidates_by_name(source, SHEET), lambda count: None))
    problems = check_study(read_study(folder), lambda count: None)
    return {(problem.severity, problem.what): [file.split("/")[-1] for file in problem.files] for problem in problems}


def training_patch(source):
    return source / "training" / bcss_name("TCGA-A1-A0S0", "1000", 0)


def validation_pair(source):
    name = bcss_name("TCGA-D8-A1JL", None, 0)
    return source / "val" / "img" / name, source / "val" / "mask" / name


def test_a_sound_study_has_no_problems(source):
    assert check(source) == {}


def test_text_renamed_to_png_is_no_image(source):
    training_patch(source).write_text("just text")
    assert check(source) == {("error", "not an image, whatever its name says"): [training_patch(source).name]}


def test_a_truncated_image_is_found(source):
    content = training_patch(source).read_bytes()
    training_patch(source).write_bytes(content[: len(content) // 2])
    ((severity, what),) = check(source)
    assert severity == "error"
    assert what.startswith("cannot be decoded")


def test_sixteen_bits_are_found(source):
    Image.fromarray(np.full((SIZE_PX, SIZE_PX), 40000, dtype=np.uint16)).save(training_patch(source))
    assert list(check(source)) == [("error", "I;16 pixels of more than 8 bits per channel")]


def test_sixteen_bit_colour_is_found_although_pillow_reads_it_as_eight(source):
    import imagecodecs

    deep = np.random.default_rng(0).integers(0, 65536, (SIZE_PX, SIZE_PX, 3), dtype=np.uint16)
    training_patch(source).write_bytes(imagecodecs.png_encode(deep))
    assert list(check(source)) == [("error", "RGB pixels of more than 8 bits per channel")]


def test_real_transparency_is_an_error(source):
    rgba = np.dstack([pixels(0), np.full((SIZE_PX, SIZE_PX), 255, np.uint8)])
    rgba[:4, :, 3] = 0
    Image.fromarray(rgba).save(training_patch(source))
    assert list(check(source)) == [("error", "25% of the pixels are transparent and so have no colour")]


def test_opaque_rgba_and_grey_are_converted_and_said_so(source):
    Image.fromarray(np.dstack([pixels(0), np.full((SIZE_PX, SIZE_PX), 255, np.uint8)])).save(training_patch(source))
    Image.fromarray(pixels(1)[..., 0]).save(source / "training" / bcss_name("TCGA-A1-A0S0", "0100", 1))
    assert set(check(source)) == {("note", "RGBA image, read as RGB"), ("note", "L image, read as RGB")}


def test_a_file_that_vanished_after_the_import_is_found(source):
    check(source)
    training_patch(source).unlink()
    validation_pair(source)[1].unlink()
    problems = check_study(read_study(source.parent / "study"), lambda count: None)
    assert {problem.what for problem in problems} == {"no such file", "no such mask"}


def test_a_file_that_changed_after_the_import_is_found(source):
    check(source)
    write_patch(training_patch(source), seed=77)
    problems = check_study(read_study(source.parent / "study"), lambda count: None)
    assert [(problem.severity, problem.what) for problem in problems] == [("error", "file changed since the import")]


def test_an_edited_csv_is_said_to_have_no_effect(source):
    check(source)
    file = source.parent / "study" / "manifest.csv"
    file.write_text(file.read_text().replace("TCGA-D8-A1JL,", "TCGA-D8-XXXX,"))
    (problem,) = check_study(read_study(file.parent), lambda count: None)
    assert problem.what == "manifest.csv was edited, which has no effect"


def test_one_patch_of_another_size_is_an_error(source):
    write_patch(training_patch(source), seed=0, size_px=20)
    assert check(source) == {("error", "training patch of another size than 16 x 16 px"): [training_patch(source).name]}


def test_training_patches_of_many_sizes_are_only_noted(source):
    for number, path in enumerate(sorted((source / "training").iterdir())):
        write_patch(path, seed=number, size_px=16 + number)
    ((severity, what),) = check(source)
    assert (severity, what) == ("note", "training patches of 10 sizes")


def test_a_mask_of_another_size_is_found(source):
    mask = validation_pair(source)[1]
    write_mask(mask, np.zeros((8, 8), np.uint8), BCSS_WSSS)
    assert check(source) == {("error", "mask of 8 x 8 px for an image of 16 x 16 px"): [mask.name]}


def test_a_mask_value_outside_the_taxonomy_is_found(source):
    mask = validation_pair(source)[1]
    write_mask(mask, np.full((SIZE_PX, SIZE_PX), 7, np.uint8), BCSS_WSSS)
    assert check(source) == {("error", "mask value 7 is unknown"): [mask.name]}


def test_a_mask_of_colours_is_found(source):
    mask = validation_pair(source)[1]
    Image.fromarray(pixels(0)).save(mask)
    ((severity, what),) = check(source)
    assert severity == "error"
    assert what.startswith("mask of mode RGB")


def test_a_missing_mask_is_found(source):
    image, mask = validation_pair(source)
    mask.unlink()
    assert check(source) == {("error", "val image without mask"): [image.name]}


def test_a_split_with_neither_masks_nor_labels_is_a_warning(source):
    for mask in (source / "test" / "mask").iterdir():
        mask.unlink()
    assert list(check(source)) == [("warning", "test image with neither mask nor labels")]


def test_labels_without_any_class_are_a_warning(source):
    path = write_patch(source / "training" / bcss_name("TCGA-A1-A0S0", "0000", 50), seed=50)
    assert check(source) == {("warning", "labels name no class at all"): [path.name]}


def test_labels_that_do_not_fit_the_taxonomy_are_found(source):
    check(source)
    study = read_study(source.parent / "study")
    study.table.loc[0, "labels"] = "11011"
    study.table.loc[1, "labels"] = None
    write_study(study)
    problems = check_study(read_study(study.folder), lambda count: None)
    assert [problem.what for problem in problems] == [
        "labels are not 4 digits for TUM, STR, LYM, NEC",
        "training patch without labels",
    ]


def test_a_class_without_example_is_found(source):
    for path in (source / "training").glob("*[[]0010[]].png"):
        path.unlink()
    assert check(source) == {("error", "class LYM has no example in train"): []}


def test_a_study_without_training_patches_is_only_a_warning(source):
    for path in (source / "training").iterdir():
        path.unlink()
    assert list(check(source)) == [("warning", "no training patches")]


def test_one_source_in_two_splits_is_found(source):
    image = write_pair(source / "test", bcss_name("TCGA-A1-A0S0", None, 9), seed=300)
    problems = check(source)
    assert list(problems) == [("error", "source TCGA-A1-A0S0 is in test and train")]
    assert image.name in next(iter(problems.values()))


def test_the_same_pixels_in_two_splits_are_found_under_other_names_and_formats(source):
    image = write_pair(source / "test", bcss_name("TCGA-ZZ-0000", None, 9), seed=300)
    Image.fromarray(pixels(0)).save(image, compress_level=1)
    problems = check(source)
    assert list(problems) == [("error", "same pixels in two splits")]
    assert set(next(iter(problems.values()))) == {image.name, training_patch(source).name}


def test_the_same_pixels_twice_in_one_split_are_a_warning(source):
    write_patch(source / "training" / bcss_name("TCGA-A1-A0S0", "1000", 50), seed=0)
    assert list(check(source)) == [("warning", "same pixels twice in one split")]


def test_blank_glass_in_two_splits_is_no_leak(source):
    for path in (training_patch(source), validation_pair(source)[0]):
        Image.new("RGB", (SIZE_PX, SIZE_PX), (240, 240, 240)).save(path)
    assert list(check(source)) == [("warning", "image of a single colour")]


def test_importing_and_checking_do_not_import_torch(source):
    code = (
        "import sys\n"
        "from histoproto.cli import main\n"
        "for arguments in (['data', 'import', 'bcss-wsss', sys.argv[1], '--out', sys.argv[2]],\n"
        "                  ['data', 'check', sys.argv[2]], ['doctor', '--json'], ['data', 'check', '--help']):\n"
        "    try:\n"
        "        main(arguments)\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    arguments = [str(source), str(source.parent / "study")]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
