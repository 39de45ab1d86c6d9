import json
from dataclasses import asdict

import pytest
import yaml
from safetensors.torch import save_file

from histoproto.backbones.mobilenet import mobilenet_v2
from histoproto.backbones.timm_pyramid import stated_licence
from histoproto.encoders.sam import sam_licence
from histoproto.exporting.licences import forbids_sharing, shown, terms_of, weights_behind
from histoproto.runs import RunFolder


def weights(source, licence, sha256=None):
    return {"source": source, "licence": licence, "sha256": sha256}


MIT_B1 = weights("hf:nvidia/mit-b1", "NVIDIA Source Code License for SegFormer: non-commercial, research only", "a1")
CONCH = weights("hf:MahmoodLab/conch", "CC-BY-NC-ND-4.0, also for models trained on its outputs", "c0")
DINO = weights("hf:facebook/dinov2-small", "Apache-2.0", "d0")
PLIP = weights("hf:vinid/plip", "none stated", "e0")


def run_folder(path, weights, **config):
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({"weights": weights}))
    (path / "config.yaml").write_text(yaml.safe_dump({"method": "lpd", **config}))
    return RunFolder(path)


def test_the_strictest_licence_decides():
    assert terms_of([DINO]).name == "not-chosen-yet"
    assert terms_of([DINO, PLIP]).licence == "unknown"
    assert terms_of([DINO, PLIP, MIT_B1]).name == "non-commercial-research"
    assert terms_of([DINO, PLIP, MIT_B1, CONCH]).licence == "cc-by-nc-nd-4.0"


def test_only_a_licence_without_derivatives_forbids_to_share():
    assert not terms_of([CONCH]).shareable
    assert forbids_sharing(CONCH["licence"])
    assert all(terms_of(one).shareable for one in ([], [MIT_B1], [PLIP], [DINO]))


def test_a_doubt_about_one_licence_is_not_hidden_by_another():
    assert "vinid/plip` is not known" in terms_of([MIT_B1, PLIP]).sentence


def test_without_pretrained_weights_the_licence_is_the_trainers_choice():
    terms = terms_of([])
    assert (terms.licence, terms.name) == ("other", "not-chosen-yet")
    assert "No pretrained weights" in terms.sentence


def test_weights_are_followed_through_runs_and_banks(tmp_path):
    run_folder(tmp_path / "first", [MIT_B1, weights("none", None)])
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "bank.json").write_text(json.dumps({"encoder": {"loaded": CONCH}}))
    second = run_folder(
        tmp_path / "second",
        [weights(f"run:{tmp_path / 'first'}", None, "f0"), weights(f"bank:{tmp_path / 'bank'}", None, "b0"), DINO],
    )
    assert weights_behind(second) == [MIT_B1, CONCH, DINO]


def test_a_segmenter_inherits_from_the_run_that_made_its_masks(tmp_path):
    run_folder(tmp_path / "first", [CONCH])
    second = run_folder(tmp_path / "second", [DINO], source=str(tmp_path / "first"))
    assert weights_behind(second) == [DINO, CONCH]


def test_the_licence_of_a_run_that_is_gone_is_not_known(tmp_path):
    behind = weights_behind(run_folder(tmp_path / "second", [DINO], source=str(tmp_path / "gone")))
    assert terms_of(behind).licence == "unknown"


def test_of_paths_on_this_machine_the_last_part_alone_is_shown():
    assert shown("/home/someone/weights/mit_b1.pth") == "mit_b1.pth"
    assert shown("run:/home/someone/runs/lpd") == "run:lpd"
    assert shown("--out=/home/someone/demo") == "--out=demo"
    assert shown("hf:nvidia/mit-b1@main") == "hf:nvidia/mit-b1@main"
    assert shown("runs/lpd") == "runs/lpd"


def test_the_refiners_weights_go_along(tmp_path):
    sam = weights("hf:facebook/sam-vit-base", "Apache-2.0", "5a")
    run_folder(tmp_path / "first", [MIT_B1])
    second = run_folder(
        tmp_path / "second", [weights(f"run:{tmp_path / 'first'}", None, "f0"), sam], source=str(tmp_path / "first")
    )
    assert weights_behind(second) == [MIT_B1, sam]


@pytest.mark.parametrize(
    ("source", "licence"),
    [
        ("hf:timm/resnet18.a1_in1k", "apache-2.0, as timm states"),
        ("hf:timm/resnet18.a1_in1k@main", "apache-2.0, as timm states"),
        ("hf:timm/resnet18.mine", None),
        ("hf:somebody/resnet18.a1_in1k", None),
        ("resnet18.safetensors", None),
        (None, None),
    ],
)
def test_timm_states_the_licence_of_its_own_weights_alone(source, licence):
    assert stated_licence(source) == licence


def test_mobilenets_weights_have_torchvisions_licence_and_imagenets_terms(tmp_path):
    file = tmp_path / "mobilenet.safetensors"
    save_file({f"features.{name}": tensor for name, tensor in mobilenet_v2()[0].features.state_dict().items()}, file)
    _, loaded = mobilenet_v2(str(file))
    assert terms_of([asdict(loaded)]).name == "non-commercial-research"


def test_the_authors_weights_of_segment_anything_are_free_and_others_are_to_be_looked_up():
    assert sam_licence("hf:facebook/sam-vit-base@main") == sam_licence("hf:facebook/sam2.1-hiera-tiny") == "Apache-2.0"
    assert terms_of([weights("hf:wanglab/medsam-vit-base", sam_licence("hf:wanglab/medsam-vit-base"))]).licence == (
        "unknown"
    )
    assert sam_licence("/weights/sam") is None
