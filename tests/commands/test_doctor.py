import json

import pytest

from histoproto.cli import main
from histoproto.commands import doctor


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
