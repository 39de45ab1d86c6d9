"""The page for people who bring their own method: its files are taken out, installed, trained and checked."""

import inspect
import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from histoproto.presets.registry import METHODS, method_entry
from tests.methods import law_cases, test_laws

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"
FILES = dict(re.findall(r"\*\*`([^`\n]+)`\*\*\n\n```\w+\n(.*?)```", PAGE.read_text(), flags=re.DOTALL))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install the page's package in a folder, as pip would: its files, and what pyproject.toml announces."""
    for name, text in FILES.items():
        if name.startswith("mymethods/"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    information = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    announced = [
        f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (information / "entry_points.txt").write_text("\n".join(announced))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "mymethods"]:
        del sys.modules[name]


def test_a_package_of_four_files_brings_a_method_that_trains_by_name(installed, succeeds, tiny_study):
    assert len([name for name in FILES if name != "tests/methods/law_cases.py"]) == 4
    settings = installed / "settings.yaml"
    settings.write_text("model: {apart_weight: 0.5}\n")
    run = installed / "run"
    succeeds("train", "nearest", tiny_study, "--run", run, "--epochs", 1, "--batch", 16, "--settings", settings)
    succeeds("evaluate", run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["method"] == "nearest"
    assert config["model"]["apart_weight"] == 0.5
    assert "apart" in (run / "metrics.csv").read_text().splitlines()[0]


def test_the_page_s_own_test_passes(installed):
    names = {}
    exec(compile(FILES["tests/test_nearest.py"], "test_nearest.py", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_the_page_s_method_keeps_the_laws(installed, monkeypatch, tmp_path):
    facts = eval(
        "{" + FILES["tests/methods/law_cases.py"] + "}",
        {"MethodFacts": law_cases.MethodFacts, "ONE_PER_CLASS": law_cases.ONE_PER_CLASS},
    )
    entry = method_entry("nearest")
    assert entry is import_module("mymethods.presets").ENTRY
    monkeypatch.setitem(METHODS, "nearest", entry)
    monkeypatch.setitem(law_cases.FACTS, "nearest", facts["nearest"])
    laws = {
        law: inspect.signature(law).parameters
        for name, law in inspect.getmembers(test_laws, inspect.isfunction)
        if name.startswith("test_") and "case" in inspect.signature(law).parameters
    }
    assert len(laws) > 10
    given = {"case": law_cases.Case("nearest", "corrected"), "tmp_path": tmp_path}
    for law, wanted in laws.items():
        law(**{name: given[name] for name in wanted})
