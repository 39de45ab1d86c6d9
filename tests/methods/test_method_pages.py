import re
from functools import reduce
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import histoproto
from histoproto.presets.registry import METHODS
from tests.methods.preset_tables import BLOCK, PAGES, plain_values, renewed

DOCS = PAGES.parent
PARTS = {module.name for module in iter_modules(histoproto.__path__)}
SETTINGS = {name for entry in METHODS.values() for preset in entry.presets.values() for name, _ in plain_values(preset)}
FILE_ENDINGS = {"safetensors", "parquet", "json", "yaml", "csv", "html", "py"}
PAGE_FILES = sorted(PAGES.glob("*.md"))

every_page = pytest.mark.parametrize("page", PAGE_FILES, ids=lambda page: page.stem)


@every_page
def test_the_tables_of_settings_are_those_of_the_presets(page):
    assert page.read_text() == renewed(page), "write them anew: python -m tests.methods.preset_tables"


def test_every_method_has_a_table_of_its_settings():
    shown = {method for page in PAGE_FILES for method, _ in BLOCK.findall(page.read_text())}
    assert shown == set(METHODS)


@every_page
def test_code_that_a_page_names_exists(page):
    names = set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", page.read_text())) - SETTINGS
    for name in names:
        parts = name.split(".")
        if parts[0] not in PARTS or parts[-1] in FILE_ENDINGS:
            continue
        depth = next(depth for depth in range(len(parts), 0, -1) if _is_module(parts[:depth]))
        module = import_module(".".join(["histoproto", *parts[:depth]]))
        assert reduce(lambda held, part: getattr(held, part, None), parts[depth:], module) is not None, name


def _is_module(parts):
    place = Path(histoproto.__path__[0]).joinpath(*parts)
    return place.is_dir() or place.with_suffix(".py").is_file()


@pytest.mark.parametrize("page", [*PAGE_FILES, *sorted(DOCS.glob("*.md"))], ids=lambda page: page.stem)
def test_pages_that_a_page_links_to_exist(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_overview_of_presets_leads_to_every_method():
    overview = (DOCS / "presets.md").read_text()
    for method in METHODS:
        assert f"`{method}`" in overview
