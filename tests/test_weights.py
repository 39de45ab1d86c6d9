import hashlib
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import save_file

from histoproto import weights as module
from histoproto.backbones.registry import build_backbone
from histoproto.contracts import LoadedWeights
from histoproto.errors import WeightsError
from histoproto.weights import fill, initialise, read_weights

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.0, 2.0])}


@pytest.fixture
def layer():
    return torch.nn.Linear(3, 2)


def write(path):
    if path.suffix == ".safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path)
    return path


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
def test_a_file_is_loaded_with_its_provenance(layer, tmp_path, name):
    path = write(tmp_path / name)

    loaded = initialise(layer, str(path), licence="CC0")

    assert torch.equal(layer.weight, TENSORS["weight"])
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded == LoadedWeights(str(path), sha256=sha, tensors=2, licence="CC0")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_hub_folder_is_loaded(layer, tmp_path, name):
    write(tmp_path / name)
    initialise(layer, str(tmp_path))
    assert torch.equal(layer.bias, TENSORS["bias"])


@pytest.mark.parametrize("source", [None, "none"])
def test_without_a_source_the_random_weights_stay(layer, source):
    before = layer.weight.clone()
    assert initialise(layer, source) == LoadedWeights("none")
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_file_is_one_sentence(tmp_path, name, share):
    path = write(tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"w\..* no weights file"):
        read_weights(str(path))


def test_a_pickled_object_is_not_opened(tmp_path):
    torch.save({"weight": SimpleNamespace(a=1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        read_weights(str(tmp_path / "w.pth"))


def test_a_file_without_a_table_of_tensors_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no table of named tensors"):
        read_weights(str(tmp_path / "w.pth"))


def test_a_path_that_does_not_exist_says_what_can_be_given(tmp_path):
    with pytest.raises(WeightsError, match=r"no such weights file.*hf:organisation/name@revision"):
        read_weights(str(tmp_path / "absent.pth"))


def test_a_folder_without_weights_names_the_files_looked_for(tmp_path):
    with pytest.raises(WeightsError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        read_weights(str(tmp_path))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"weight": TENSORS["weight"]}, r"lacks 1 of 2 tensors \(bias\)"),
        ({**TENSORS, "scale": torch.ones(1)}, r"no place for 1 of 3 tensors \(scale\)"),
        ({**TENSORS, "bias": torch.ones(3)}, r"bias \(3,\) instead of \(2,\)"),
        ({}, "lacks 2 of 2"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(layer, tensors, words):
    before = layer.weight.clone()
    with pytest.raises(WeightsError, match=words):
        fill(layer, tensors, "w.pth")
    assert torch.equal(layer.weight, before)


def test_only_named_heads_may_be_left_over(layer):
    assert fill(layer, {**TENSORS, "head.weight": torch.ones(1)}, "w.pth", ignore=("head.",)) == 2


def test_old_files_without_batch_counters_load():
    norm = torch.nn.BatchNorm2d(2)
    tensors = {name: tensor + 1 for name, tensor in norm.state_dict().items() if "num_batches" not in name}
    assert fill(norm, tensors, "old.pth") == 4
    assert torch.equal(norm.running_mean, torch.ones(2))


class Response:
    headers: dict = {}  # noqa: RUF012 - stands for an HTTP response
    request = None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatedRepoError("x", response=Response()), "gated: accept its terms at .*a/b, then run: hf auth login"),
        (RepositoryNotFoundError("x", response=Response()), "not on the hub, or private"),
        (RevisionNotFoundError("x", response=Response()), "no revision 'r1'"),
        (LocalEntryNotFoundError("x"), "cannot be reached.* hf download a/b --revision r1"),
        (EntryNotFoundError("x"), r"neither model\.safetensors nor pytorch_model\.bin"),
        (HfHubHTTPError("x", response=Response()), "could not be downloaded"),
    ],
)
def test_every_trouble_with_the_hub_says_what_to_do(monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(module, "hf_hub_download", fail)
    with pytest.raises(WeightsError, match=f"^hf:a/b@r1 .*{words}"):
        read_weights("hf:a/b@r1")


def test_a_name_that_the_hub_cannot_have_is_refused():
    with pytest.raises(WeightsError, match="no hub address"):
        read_weights("hf:a//b")


def test_the_revision_reaches_the_hub(monkeypatch, tmp_path, layer):
    path = write(tmp_path / "pytorch_model.bin")
    asked = []

    def download(repository, name, **options):
        asked.append((repository, name, options["revision"]))
        if name == "model.safetensors":
            raise EntryNotFoundError("x")
        return str(path)

    monkeypatch.setattr(module, "hf_hub_download", download)

    assert initialise(layer, "hf:a/b@1f2e").source == "hf:a/b@1f2e"
    assert asked == [("a/b", "model.safetensors", "1f2e"), ("a/b", "pytorch_model.bin", "1f2e")]


def test_small_conv_loads_its_own_tensors_again(tmp_path):
    first, _ = build_backbone("small-conv")
    save_file(first.state_dict(), tmp_path / "s.safetensors")
    second, weights = build_backbone("small-conv", str(tmp_path / "s.safetensors"))
    assert weights.tensors == len(first.state_dict())
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(first.eval()(image)[-1], second.eval()(image)[-1])
