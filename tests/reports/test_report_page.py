import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from histoproto.cli import main
from histoproto.reports.page import compose
from histoproto.reports.reading import read_run
from histoproto.taxonomy import Taxonomy

from .a_run import make_foreign, write_json, write_run, write_training

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Collects addresses and checks that every tag is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def render(contents):
    return compose(contents).html


def outline(html):
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


def text_of(html):
    return " ".join(" ".join(outline(html).text).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("study") / "run")


@pytest.fixture
def copy_of_run(run, tmp_path):
    """Return a copy to break; without its curves, which are slow to draw."""
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "metrics.csv").unlink()
    return copy


@pytest.fixture(scope="module")
def html(run):
    return render(read_run(run))


def test_the_page_needs_no_network(html):
    assert not re.search(r"https?://", html)
    assert all(address.startswith(("data:image/", "#")) for address in outline(html).addresses)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "@import" not in html
    assert "script" not in outline(html).tags


def test_every_section_has_its_pictures(html):
    assert html.count("<svg ") == 7  # loss, three terms, confusion matrix, reliability, coverage
    examples, prototypes, slides = 6 * 5, 4 * 2 * 2, 1
    assert html.count('<img src="data:image/') == examples + prototypes + slides
    assert 'class="lost"' not in html
    assert "Make it with" not in html


def test_every_gate_and_background_rule_has_a_row_with_its_figures(run, html):
    text = text_of(html)
    results = read_run(run).evaluation["results"]
    for gate in results:
        for background, figures in results[gate].items():
            low, high = figures["interval"]["miou"]
            lead = [f"{figures['miou']:.3f}", f"{low:.3f}–{high:.3f}", f"{figures['per_image']['miou']:.3f}"]
            row = [background, *lead, *(f"{figures[key]:.3f}" for key in ("dice", "fwiou", "biou_0.02"))]
            assert " ".join(row) in text


def test_the_honest_row_is_marked_and_the_oracle_says_that_it_uses_the_true_mask(html):
    assert html.count('<tr class="honest">') == 1
    assert html.index("Predicted gate") < html.index('<tr class="honest">') < html.index("No gate")
    assert "Oracle gate · uses the true mask" in text_of(html)


def test_a_class_absent_from_the_truth_is_written_as_not_available(copy_of_run):
    contents = read_run(copy_of_run)
    entry = contents.evaluation["results"]["predicted"]["ignored"]["per_class"]["NEC"]
    entry.update(iou=None, dice=None, support_px=0)
    write_json(copy_of_run / "eval" / "metrics.json", contents.evaluation)
    assert re.search(r"NEC n/a n/a", text_of(render(read_run(copy_of_run))))


def test_names_from_outside_cannot_become_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    taxonomy = Taxonomy(evil, (evil, "b"), (evil, "<b>"), ((1, 2, 3), (4, 5, 6)))
    folder = write_run(tmp_path / "run", taxonomy, images=3)
    html = render(read_run(folder))
    assert "<script" not in html
    assert "script" not in outline(html).tags
    assert "&lt;script&gt;" in html


def test_a_run_that_was_only_trained_names_the_commands_for_the_rest(tmp_path):
    write_training(tmp_path / "run")
    text = text_of(render(read_run(tmp_path / "run")))
    assert "has not been evaluated yet" in text
    assert f"histoproto evaluate {tmp_path / 'run'} --split test" in text
    assert f"histoproto predict {tmp_path / 'run'} SLIDE" in text


@pytest.mark.parametrize(
    "missing",
    ["run.json", "eval/metrics.json", "eval/images.csv", "eval/prototypes.json", "predictions", "eval"],
)
def test_any_missing_piece_leaves_the_rest_of_the_report(copy_of_run, missing):
    target = copy_of_run / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    outline(render(read_run(copy_of_run)))


def test_a_picture_that_is_gone_or_broken_is_explained_in_its_place(copy_of_run):
    (copy_of_run / "eval" / "masks" / "patch_00.png").unlink()
    (copy_of_run / "eval" / "confidence" / "patch_00.png").write_text("no picture")
    html = render(read_run(copy_of_run))
    assert "patch_00.png: no such mask" in html
    assert "patch_00.png: not an image" in html


def test_a_mean_over_chosen_classes_gets_its_own_column(copy_of_run):
    evaluation = read_run(copy_of_run).evaluation
    evaluation["results"]["predicted"]["ignored"]["miou[TUM,STR]"] = 0.4321
    write_json(copy_of_run / "eval" / "metrics.json", evaluation)
    text = text_of(render(read_run(copy_of_run)))
    assert "mIoU 95 % mIoU per image mIoU TUM,STR Dice" in text
    assert "0.432" in text


def test_the_strongest_activation_glows_however_small_it_is(tmp_path):
    from histoproto.reports.pictures import activation, value_range

    Image.new("RGB", (32, 32), (128, 128, 128)).save(tmp_path / "patch.png")
    values = np.full((32, 32), 100, np.uint8)
    values[:, 16:] = 110
    Image.fromarray(values).save(tmp_path / "map.png")
    low, high = value_range([tmp_path / "map.png", tmp_path / "gone.png"])
    assert (low, high) == (100, 110)
    uri = activation(tmp_path / "map.png", tmp_path / "patch.png", 32, low, high).uri
    shown = np.asarray(Image.open(decoded(uri)).convert("RGB")).astype(int)
    assert abs(shown[:, :8] - 128).max() < 12
    assert shown[:, 24:].mean() > 180


def test_masks_keep_the_colours_of_the_taxonomy(tmp_path):
    from histoproto.masks import write_mask
    from histoproto.reports.pictures import mask
    from histoproto.taxonomy import BCSS_WSSS

    write_mask(tmp_path / "mask.png", np.array([[0, 1, 4, 255]], np.uint8), BCSS_WSSS)
    picture = Image.open(decoded(mask(tmp_path / "mask.png", BCSS_WSSS, 64).uri)).convert("RGB")
    assert list(np.asarray(picture)[0].tolist()) == [[255, 0, 0], [0, 255, 0], [255, 255, 255], [128, 128, 128]]


def decoded(uri):
    import base64
    import io

    return io.BytesIO(base64.b64decode(uri.split(",")[1]))


def test_large_noisy_pictures_stay_below_eight_megabytes(copy_of_run):
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (1200, 1200, 3), dtype=np.uint8))
    noise.save(copy_of_run / "noise.png", compress_level=1)
    for place in ("a", "b", "c", "d"):
        (copy_of_run / "predictions" / place).mkdir()
        (copy_of_run / "predictions" / place / "overlay.png").symlink_to(copy_of_run / "noise.png")
        write_json(copy_of_run / "predictions" / place / "areas.json", {"areas": {}})
    for kind, picture in (("masks", noise.convert("L").point(lambda value: value // 52)), ("confidence", noise)):
        for file in (copy_of_run / "eval" / kind).glob("*.png"):
            picture.convert("L").resize((300, 300)).save(file)
    html = render(read_run(copy_of_run))
    assert "3 of 5 are shown" in html
    assert len(html) < 8_000_000


def test_leading_figures_stand_with_their_interval_and_what_was_drawn_anew(run, html):
    text = text_of(html)
    miou = read_run(run).evaluation["results"]["predicted"]["ignored"]["miou"]
    ends = f"{miou - 0.05:.3f} to {miou + 0.04:.3f}"
    assert f"a mean IoU of {miou:.3f} (95 % interval {ends}, from 3 slides or patients drawn anew)" in text
    assert f"mean IoU {miou - 0.05:.3f}–{miou + 0.04:.3f} per image" in text


def test_the_leading_gate_is_shown_without_test_time_augmentation_too(html):
    text = text_of(html)
    assert "Without test-time augmentation, predicted gate" in text
    assert "ignored 0.123 –" in text


def test_the_gate_is_judged_by_its_calibration(html):
    text = text_of(html)
    assert "Class AP F1 ECE Brier Threshold Images" in text
    assert "TUM 0.930 0.880 0.070 0.110 0.269 4" in text  # 1 / (1 + e) = 0.269
    assert "Mean 0.870 0.880 0.071 0.110" in text
    assert {"11", "13"} <= set(re.findall(r">(\d+)</text>", html))


def test_the_page_says_what_confidence_is_worth_and_how_to_use_it(run, html):
    text = text_of(html)
    rows = {row["keep"]: row for row in read_run(run).evaluation["confidence"]}
    everything, sure = (f"{100 * rows[keep]['precision']:.1f} %" for keep in (1.0, 0.8))
    assert f"{everything} of the pixels have the right tissue; of the surest 80 % of each class, {sure} have." in text
    assert f"histoproto segment {run} --keep 0.8" in text
    cells = [rows[1.0]["precision"], *(own["precision"] for own in rows[1.0]["per_class"].values())]
    assert " ".join(["100 %", *(f"{cell:.3f}" for cell in cells)]) in text
    assert "usually better than this" in text


def test_a_class_that_is_never_predicted_is_named_and_not_drawn(copy_of_run):
    evaluation = read_run(copy_of_run).evaluation
    for row in evaluation["confidence"]:
        row["per_class"]["NEC"] = {"threshold": None, "kept": None, "precision": None}
    write_json(copy_of_run / "eval" / "metrics.json", evaluation)
    assert re.search(r"100 % [\d. ]+ n/a 90 %", text_of(render(read_run(copy_of_run))))


def test_an_evaluation_without_confidence_says_nothing_about_it(copy_of_run):
    evaluation = read_run(copy_of_run).evaluation
    del evaluation["confidence"]
    write_json(copy_of_run / "eval" / "metrics.json", evaluation)
    text = text_of(render(read_run(copy_of_run)))
    assert "What confidence is worth" not in text
    assert "--keep" not in text


def test_a_segmenter_is_not_told_to_train_a_segmenter(copy_of_run):
    (copy_of_run / "eval" / "prototypes.json").unlink()
    text = text_of(render(read_run(copy_of_run)))
    assert "What confidence is worth" in text
    assert "histoproto segment" not in text


def test_slides_are_listed_worst_first_in_a_box_of_their_own(run, html):
    contents = read_run(run)
    text = text_of(html)
    found = [
        (group.figures["miou"], text.index(f"{group.name} 2 {group.figures['miou']:.3f}")) for group in contents.groups
    ]
    places = [place for _, place in sorted(found)]
    assert places == sorted(places)
    assert '<div class="scroll tall">' in html


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        ("unknown", "had they looked at the true masks, this would be an upper bound"),
        ("oracle", "That is an upper bound, no result"),
        ("none", "masks in which every tissue may appear everywhere reach"),
        ("predicted", "masks drawn without knowing which tissues a patch holds reach"),
    ],
)
def test_masks_made_elsewhere_lead_with_their_own_gate(copy_of_run, gate, sentence):
    html = render(read_run(make_foreign(copy_of_run, gate, ["lost_1.png", "lost_2.png"])))
    text = text_of(html)
    assert sentence in text
    assert html.count('<tr class="honest">') == 1
    assert "2 images have no predicted mask and count in no figure: lost_1.png, lost_2.png" in text
    assert "made elsewhere" in text
    assert "label-only" not in text
    assert "histoproto train" not in text.split("Origin")[0]
    assert html.count('<img src="data:image/') == 6 * 4 + 0  # no confidence, no prototypes, no slide


def test_an_earlier_comparison_is_one_command_away(copy_of_run):
    arms = [{"runs": [str(copy_of_run)]}, {"runs": ["runs/cam-0", "runs/cam-1"]}]
    write_json(copy_of_run / "eval" / "comparison.json", {"arms": arms})
    assert f"histoproto report {copy_of_run} --compare runs/cam-0 runs/cam-1" in text_of(render(read_run(copy_of_run)))


def test_the_command_writes_the_page_and_says_what_is_next(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", str(run), "--out", str(tmp_path / "page.html")])
    assert end.value.code == 0
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert "Next: " in capsys.readouterr().out


def test_a_folder_that_is_no_run_ends_in_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", str(tmp_path)])
    assert end.value.code == 2
    assert "is no run folder" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["eval/metrics.json", "run.json", "eval/prototypes.json"])
def test_a_broken_file_is_named(copy_of_run, file, capsys):
    (copy_of_run / file).write_text("{")
    with pytest.raises(SystemExit) as end:
        main(["report", str(copy_of_run)])
    assert end.value.code == 2
    assert f"{file} is not valid JSON" in capsys.readouterr().err
