import json
import subprocess
import sys

import pytest

from histoproto.cli import main
from histoproto.commands import doctor
from histoproto.commands.encoder_table import _is_here
from histoproto.encoders.cards import CARDS


def run(*options):
    with pytest.raises(SystemExit) as end:
        main(["doctor", *options])
    return end.value.code


def test_a_complete_machine_is_well(capsys):
    assert run() == 0
    out = capsys.readouterr().out
    assert "torch" in out
    assert out.endswith("Next: histoproto demo --out demo\n")


def test_the_findings_for_machines_cover_what_is_needed(capsys):
    assert run("--json") == 0
    report = json.loads(capsys.readouterr().out)
    things = {finding["thing"] for finding in report["findings"]}
    assert {"Python", "packages", "torch", "GPU", "TIFF reader", "slide reader", "disk", "weights"} == things


def test_a_missing_package_is_named_with_the_command_that_installs_it(capsys, monkeypatch):
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "tifffile" else known(package))
    assert run("--json") == 2
    findings = {finding["thing"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["packages"]["advice"] == "pip install tifffile"
    assert findings["TIFF reader"]["state"] == "missing"


def test_a_gpu_is_asked_for_by_the_driver(tmp_path, capsys, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Toy GPU, 1024 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert run("--json") == 0
    findings = {finding["thing"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["GPU"]["found"] == "Toy GPU, 1024 MiB"


LISTING = """
import sys
from histoproto.cli import main
try:
    main(["doctor", "--encoders", "--json"])
except SystemExit as end:
    assert end.code == 0
assert "torch" not in sys.modules
"""


def test_encoders_are_listed_with_licence_and_address_without_importing_torch():
    answer = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True, check=True)

    cards = json.loads(answer.stdout)

    assert cards["conch"]["gated"] is True
    assert cards["conch"]["source"] == "hf:MahmoodLab/conch"
    assert cards["clip"]["text"] is True
    assert {card["on_this_machine"] for card in cards.values()} <= {True, False}


def test_an_encoder_in_the_hubs_cache_is_here(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert not _is_here("hf:org/name@main")

    file = tmp_path / "models--org--name" / "snapshots" / "abc" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()

    assert _is_here("hf:org/name@main")
    assert not _is_here(None)


def test_the_table_of_encoders_names_each_and_says_how_to_get_the_gated_ones(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    assert run("--encoders") == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert {*CARDS, "self", "random"} <= rows.keys()
    assert "yes" in rows["plip"]
    assert "hf:MahmoodLab/UNI2-h" in rows["uni2-h"]
    assert "2560" in rows["virchow2"]
    assert out.count("(gated)") == sum(card.gated for card in CARDS.values())
    assert out.splitlines()[-1].endswith("hf auth login")
