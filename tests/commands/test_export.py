import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import save_file

from histoproto.backbones.small_conv import small_conv
from histoproto.errors import WeightsError
from histoproto.exporting import onnx_file
from histoproto.hub import TissueMapper
from histoproto.images import read_rgb
from histoproto.inference.decision import decide, predicted_classes
from histoproto.inference.evidence import evidence_of
from histoproto.inference.gate import Gate
from histoproto.masks import read_indices
from histoproto.wiring.runs import load_run

pytestmark = pytest.mark.timeout(900)  # torch traces for half a minute, and for long on a busy machine

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="session")
def desk(trained, patches, tmp_path_factory):
    """A folder in which somebody has followed docs/export.md: runs/lpd, lpd.onnx, lpd/, patch.png."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(trained, folder / "runs" / "lpd")
    shutil.copy(sorted((patches / "test" / "img").glob("*.png"))[0], folder / "patch.png")
    for line in "".join(blocks(PAGE, "bash")).splitlines():
        # a process of its own: while torch traces, numbers are symbols, which the watch over shapes refuses
        subprocess.run([sys.executable, "-m", *line.split()], cwd=folder, check=True)
    return folder


@pytest.fixture
def at_desk(desk, monkeypatch):
    monkeypatch.chdir(desk)
    return desk


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def execute(block):
    names = {}
    exec(compile(block, "block", "exec"), names)
    return names


def evidence_of_run(folder, rgb):
    run = load_run(folder)
    gate = Gate.from_record(run.folder.read_record(), "run")
    return run, gate, evidence_of(run.model, rgb, gate.window_px, run.settings.inference)


def test_the_blocks_of_the_page_run(at_desk):
    through_hub, through_onnx = (execute(block) for block in blocks(PAGE, "python"))
    assert through_hub["mask"].shape == through_onnx["mask"][0].shape
    agree = (through_hub["mask"] == through_onnx["mask"][0]) | (through_hub["mask"] == 4)
    assert agree.mean() > 0.999  # the hub's mask has white background


def test_the_folder_holds_no_pickle_and_no_path_of_this_machine(desk):
    assert sorted(path.name for path in (desk / "lpd").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for name in ("lpd/README.md", "lpd/config.json", "lpd.md"):
        text = (desk / name).read_text()
        assert str(desk) not in text
        assert str(Path(load_run(desk / "runs" / "lpd").study).parent) not in text


def test_a_folder_needs_no_run_and_gives_the_same_bits(command, run, desk, tmp_path):
    rgb = read_rgb(desk / "patch.png")
    _, gate, evidence = evidence_of_run(run, rgb)
    assert command("predict", run, desk / "patch.png", "--out", tmp_path / "out") == 0
    assert command("export", run, "--to", "hub-folder", "--out", tmp_path / "given") == 0
    shutil.rmtree(run)
    mapper = TissueMapper.from_pretrained(tmp_path / "given")
    again = mapper.evidence(rgb)
    assert (again.maps == evidence.maps).all()
    assert (again.scores == evidence.scores).all()
    assert mapper.gate == gate
    mask, confidence = mapper.segment(rgb)
    assert (mask == read_indices(tmp_path / "out" / "patch" / "mask.png")).all()
    assert 0 <= confidence.min() <= confidence.max() <= 1


def test_the_examples_of_both_cards_run_and_draw_the_same_tissue(at_desk):
    execute(blocks(at_desk / "lpd" / "README.md", "python")[0])
    drawn = read_indices(at_desk / "mask.png")
    names = execute(blocks(at_desk / "lpd.md", "python")[0])
    assert ((names["mask"] == drawn) | (drawn == 4)).mean() > 0.999
    with Image.open("mask.png") as picture:
        assert picture.mode == "RGB"


def test_onnx_gives_the_evidence_and_the_mask_of_any_batch_and_size(desk):
    import onnxruntime

    session = onnxruntime.InferenceSession(desk / "lpd.onnx")
    for size in [(1, 64, 64), (2, 131, 40), (3, 17, 90)]:
        batch = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
        images = batch.transpose(0, 3, 1, 2).astype(np.float32) / 255
        maps, local, scores = session.run(None, {"images": images})
        assert scores.shape == (size[0], 4)
        for rgb, own_maps, own_local in zip(batch, maps, local, strict=True):
            _, gate, evidence = evidence_of_run(desk / "runs" / "lpd", rgb)
            assert np.abs(own_maps - evidence.maps.numpy()).max() < 1e-4
            assert np.abs(own_local - evidence.scores.numpy()).max() < 1e-4
            mask = decide(evidence.maps, predicted_classes(evidence, gate)).mask.numpy()
            limits = np.array(gate.thresholds)[:, None, None]
            allowed = (own_local >= limits) | (own_local == own_local.max(0))
            assert (np.where(allowed, own_maps, -np.inf).argmax(0) == mask).mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--arch", "unet"), ("--arch", "deeplab-v2", "--encoder", "smp:mobilenet_v2")])
def test_segmenters_in_onnx_give_the_evidence_of_any_batch_and_size(options, command, trained, tmp_path):
    import onnxruntime

    segmenter, file = tmp_path / "seg", tmp_path / "seg.onnx"
    assert command("segment", trained, "--run", segmenter, *options, "--epochs", 1) == 0
    line = ["histoproto", "export", segmenter, "--to", "onnx", "--out", file, "--one-view"]
    subprocess.run([sys.executable, "-m", *line], check=True)
    run, gate, _ = evidence_of_run(segmenter, np.zeros((64, 64, 3), np.uint8))
    once = replace(run.settings.inference, views="none")
    session = onnxruntime.InferenceSession(file)
    for size in [(1, 64, 64), (2, 131, 40), (3, 17, 90)]:
        batch = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
        maps, local, _ = session.run(None, {"images": batch.transpose(0, 3, 1, 2).astype(np.float32) / 255})
        for rgb, own_maps, own_local in zip(batch, maps, local, strict=True):
            evidence = evidence_of(run.model, rgb, gate.window_px, once)
            assert np.abs(own_maps - evidence.maps.numpy()).max() < 1e-4
            assert np.abs(own_local - evidence.scores.numpy()).max() < 1e-4


def test_the_onnx_file_knows_its_classes_its_gate_and_where_it_comes_from(desk):
    import onnx

    about = {entry.key: json.loads(entry.value) for entry in onnx.load(desk / "lpd.onnx").metadata_props}
    record = json.loads((desk / "runs" / "lpd" / "run.json").read_text())
    assert about["classes"] == ["TUM", "STR", "LYM", "NEC"]
    assert about["colours"][0] == [255, 0, 0]
    assert about["gate"] == record["gate"]
    assert about["data_hash"] == record["data_hash"]
    assert about["mpp"] == record["mpp"]
    assert about["checkpoint_sha256"] in (desk / "lpd.md").read_text()


def test_the_card_is_one_that_the_hub_reads(desk):
    for name in ("lpd/README.md", "lpd.md"):
        facts = ModelCard((desk / name).read_text()).data
        assert (facts.library_name, facts.pipeline_tag) == ("histoproto", "image-segmentation")
        assert (facts.license, facts.license_name) == ("other", "not-chosen-yet")
        assert facts.metrics == ["mean_iou"]
        assert "lpd" in facts.tags


def test_the_card_shows_the_honest_figures_and_never_the_oracles(desk):
    metrics = json.loads((desk / "runs" / "lpd" / "eval" / "metrics.json").read_text())
    card = (desk / "lpd" / "README.md").read_text()
    for rule in ("ignored", "counted"):
        row = next(line for line in card.splitlines() if line.startswith(f"| {rule} |"))
        assert row.split("|")[2].strip().startswith(f"{metrics['results']['predicted'][rule]['miou']:.3f}")
    assert "oracle" not in card
    assert re.search(r"checkpoint \*best\*: epoch \d, which had the lowest loss on held-out labels\n", card)
    assert "not a medical device" in card


def test_a_card_without_evaluation_or_of_another_checkpoint_has_no_figures(command, run, tmp_path, capsys):
    assert command("export", run, "--to", "hub-folder", "--out", tmp_path / "a") == 0
    assert "has not been evaluated" in (tmp_path / "a" / "README.md").read_text()
    assert "histoproto evaluate" in capsys.readouterr().err
    assert command("evaluate", run) == 0
    assert command("export", run, "--to", "hub-folder", "--checkpoint", "last", "--out", tmp_path / "b") == 0
    card = (tmp_path / "b" / "README.md").read_text()
    assert "belong to another checkpoint" in card
    assert "metrics" not in ModelCard(card).data.to_dict()


def test_one_view_changes_the_maps_and_the_figures_alike(command, run, desk, tmp_path):
    assert command("evaluate", run) == 0
    assert command("export", run, "--to", "hub-folder", "--one-view", "--out", tmp_path / "fast") == 0
    mapper = TissueMapper.from_pretrained(tmp_path / "fast")
    rgb = read_rgb(desk / "patch.png")
    trained = load_run(run)
    once = evidence_of(trained.model, rgb, 64, replace(trained.settings.inference, views="none"))
    assert (mapper.evidence(rgb).maps == once.maps).all()
    metrics = json.loads((run / "eval" / "metrics.json").read_text())
    expected = metrics["variants"]["one-view"]["predicted"]["ignored"]["miou"]
    assert f"| ignored | {expected:.3f}" in (tmp_path / "fast" / "README.md").read_text()


def test_json_says_where_everything_is(command, run, tmp_path, capsys):
    assert command("export", run, "--to", "hub-folder", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(run / "export" / "run")
    assert Path(told["card"]).is_file()
    assert told["licence"] == "not-chosen-yet"


def test_what_computes_gradients_at_prediction_is_refused_and_nothing_is_written(command, study, tmp_path, capsys):
    run, out = tmp_path / "gradcam", tmp_path / "out"
    assert command("train", "gradcam", study, "--run", run, "--epochs", 1) == 0
    assert command("export", run, "--to", "onnx", "--out", out / "gradcam.onnx") == 2
    assert "gradcam computes gradients" in capsys.readouterr().err
    assert not out.exists()
    assert command("export", run, "--to", "hub-folder", "--out", out) == 0


def test_a_file_that_differs_from_the_run_never_appears(command, run, desk, tmp_path, monkeypatch, capsys):
    import onnx

    changed = onnx.load(desk / "lpd.onnx")
    weights = max(changed.graph.initializer, key=lambda one: one.ByteSize())
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * 1.01, weights.name))

    class Program:
        model = type("Model", (), {"metadata_props": {}})

        def save(self, path, external_data):
            onnx.save(changed, path)

    monkeypatch.setattr(onnx_file, "_traced", lambda graph, what: Program())
    assert command("export", run, "--to", "onnx", "--out", tmp_path / "out" / "lpd.onnx") == 2
    assert "more than 0.0001" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_a_network_that_cannot_be_traced_ends_in_one_sentence(command, run, tmp_path, monkeypatch, capsys):
    from histoproto.backbones.small_conv import SmallConv

    def forward(self, images):
        raise RuntimeError("this depends on data\nand here is a long story")

    monkeypatch.setattr(onnx_file, "_follows_gradients", lambda network: False)
    monkeypatch.setattr(SmallConv, "forward", forward)
    assert command("export", run, "--to", "onnx", "--out", tmp_path / "lpd.onnx") == 2
    told = capsys.readouterr().err
    assert "lpd on small-conv cannot be traced" in told
    assert "hub-folder" in told
    assert "long story" not in told
    assert not (tmp_path / "lpd.onnx").exists()


def test_missing_packages_are_named_with_the_command_that_brings_them(command, run, monkeypatch, capsys):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert command("export", run, "--to", "onnx") == 2
    told = capsys.readouterr().err
    assert "needs onnxscript; install with: pip install 'histoproto[export]'" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "onnx", "--out", "model.bin"), "ends in .onnx"),
        (("--to", "hub-folder", "--out", "."), "not an empty folder"),
        (("--to", "torchscript"), "torchscript"),
    ],
)
def test_impossible_wishes_are_refused(command, run, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert command("export", run, *arguments) == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def on_frozen(command, study, tmp_path):
    """A run whose backbone is frozen with weights from a file, and so in no checkpoint."""
    weights = tmp_path / "weights.safetensors"
    save_file(small_conv()[0].state_dict(), weights)
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump({"backbone": {"weights": str(weights), "frozen": True}}))
    run = tmp_path / "frozen"
    assert command("train", "lpd", study, "--run", run, "--epochs", 1, "--settings", settings) == 0
    return run, weights


def test_frozen_weights_that_no_checkpoint_holds_go_along(command, on_frozen, desk, tmp_path):
    run, weights = on_frozen
    rgb = read_rgb(desk / "patch.png")
    *_, evidence = evidence_of_run(run, rgb)
    assert command("export", run, "--to", "hub-folder", "--out", tmp_path / "out") == 0
    weights.unlink()
    assert (TissueMapper.from_pretrained(tmp_path / "out").evidence(rgb).maps == evidence.maps).all()
    assert ModelCard((tmp_path / "out" / "README.md").read_text()).data.license == "unknown"


def test_frozen_weights_that_may_not_be_passed_on_stay_out_and_are_asked_for(
    command, on_frozen, desk, tmp_path, capsys
):
    run, weights = on_frozen
    record = json.loads((run / "run.json").read_text())
    record["weights"][0]["licence"] = "CC-BY-NC-ND-4.0"
    (run / "run.json").write_text(json.dumps(record))
    rgb = read_rgb(desk / "patch.png")
    *_, evidence = evidence_of_run(run, rgb)
    assert command("export", run, "--to", "hub-folder", "--out", tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "Keep this model to yourself" in told.err
    assert "Left out" in told.out
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < weights.stat().st_size
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Do not share this model" in card
    assert "weights.safetensors` are not in this folder" in card
    with pytest.raises(WeightsError, match="frozen_weights="):
        TissueMapper.from_pretrained(tmp_path / "out")
    mapper = TissueMapper.from_pretrained(tmp_path / "out", frozen_weights=str(weights))
    assert (mapper.evidence(rgb).maps == evidence.maps).all()
    save_file(small_conv()[0].state_dict(), weights)
    with pytest.raises(WeightsError, match="is not the file"):
        TissueMapper.from_pretrained(tmp_path / "out", frozen_weights=str(weights))


def test_a_segmenter_needs_no_run_either(command, run, desk, tmp_path):
    segmenter = tmp_path / "unet"
    assert command("segment", run, "--run", segmenter, "--epochs", 1) == 0
    rgb = read_rgb(desk / "patch.png")
    *_, evidence = evidence_of_run(segmenter, rgb)
    assert command("export", segmenter, "--to", "hub-folder", "--out", tmp_path / "out") == 0
    shutil.rmtree(segmenter)
    shutil.rmtree(run)
    assert (TissueMapper.from_pretrained(tmp_path / "out").evidence(rgb).maps == evidence.maps).all()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "from pseudo masks" in card
    assert "checkpoint *best*: the weights after the last epoch, 1\n" in card
