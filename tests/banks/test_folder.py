import json

import pytest
import torch
from safetensors.torch import save_file

from histoproto.banks.folder import BANK_FILE, PROTOTYPES_FILE, file_hash, read_bank, writing_bank
from histoproto.errors import DataError

CLASSES = [{"name": "A", "sub_classes": [{}, {}]}, {"name": "B", "sub_classes": [{}]}]


def write(folder):
    with writing_bank(folder) as place:
        save_file({"prototypes": torch.eye(3)}, place / PROTOTYPES_FILE)
        record = {"classes": CLASSES, "prototypes_sha256": file_hash(place / PROTOTYPES_FILE)}
        (place / BANK_FILE).write_text(json.dumps(record))


def test_a_bank_comes_back_as_it_was_written(tmp_path):
    write(tmp_path / "bank")
    bank = read_bank(tmp_path / "bank")
    assert bank.classes == ("A", "B")
    assert bank.counts == (2, 1)
    assert torch.equal(bank.prototypes, torch.eye(3))
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), writing_bank(tmp_path / "bank") as place:
        (place / "half").write_text("x")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_what_a_killed_command_left_does_not_disturb_the_next(tmp_path):
    (tmp_path / ".bank.writing").mkdir()
    (tmp_path / ".bank.writing" / "half").write_text("x")
    write(tmp_path / "bank")
    assert not (tmp_path / "bank" / "half").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="holds no complete image bank; remove it or choose another folder"):
        write(tmp_path / "bank")
    assert (tmp_path / "bank" / "thesis.txt").exists()


def _without_json(bank):
    (bank / BANK_FILE).unlink()


def _without_prototypes(bank):
    (bank / PROTOTYPES_FILE).unlink()


def _with_others(bank):
    save_file({"prototypes": torch.zeros(3, 3)}, bank / PROTOTYPES_FILE)


def _cut_json(bank):
    (bank / BANK_FILE).write_text("{")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_without_json, "is no image bank"),
        (_without_prototypes, "is an incomplete image bank .*make it again"),
        (_with_others, "is not the file that bank.json describes"),
        (_cut_json, "is an incomplete image bank"),
    ],
)
def test_a_partly_written_or_changed_folder_is_refused(tmp_path, damage, sentence):
    write(tmp_path / "bank")
    damage(tmp_path / "bank")
    with pytest.raises(DataError, match=sentence):
        read_bank(tmp_path / "bank")
