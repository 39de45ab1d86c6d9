import pytest

from histoproto.errors import ConfigError
from histoproto.sweeps.cells import cells_of, check_cell, helper_of
from histoproto.sweeps.definition import merged, read_sweep, shipped_sweeps
from histoproto.sweeps.given import with_weights
from histoproto.sweeps.tiny import OFFLINE, SMALL, replacements, tiny_cell

SHIPPED = (
    "construct-distillation",
    "lpd-prototypes",
    "pbip-figure3",
    "pbip-figure4",
    "pbip-table1",
    "pbip-table2",
    "pbip-table3",
    "pbip-table4",
    "pbip-table5",
    "pbip-table6",
)
every_sweep = pytest.mark.parametrize("name", SHIPPED)


def tiny_cells(name):
    return [tiny_cell(cell) for cell in cells_of(read_sweep(name), tiny=True)]


def refused(text, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        definition = read_sweep(str(file))
        for cell in (*cells_of(definition), helper_of(definition)):
            check_cell(cell, definition.name)
    return str(error.value)


def test_the_shipped_sweeps_are_these():
    assert tuple(shipped_sweeps()) == SHIPPED


@every_sweep
def test_every_cell_of_a_shipped_sweep_is_made_of_settings_that_exist(name):
    definition = read_sweep(name)
    for cell in (*cells_of(definition), helper_of(definition)):
        check_cell(cell, name)


@every_sweep
def test_a_shipped_sweep_has_the_presets_of_the_papers(name):
    presets = {(cell.method, cell.preset) for cell in cells_of(read_sweep(name)) if cell.method}
    assert presets <= {("pbip", "paper"), ("lpd", "paper"), ("construct", "paper"), ("cam", "corrected")}


@every_sweep
def test_a_tiny_sweep_needs_no_download(name):
    cells = tiny_cells(name)
    assert with_weights(cells, {}, name) == cells
    for cell in cells:
        check_cell(cell, name)
        assert cell.encoders <= set(OFFLINE)
        if not cell.zeroshot:
            settings = cell.run_settings(name)
            assert settings.backbone.name in SMALL
            assert settings.encoder.name in OFFLINE
            assert (settings.backbone.weights, settings.encoder.weights) == (None, None)
            assert settings.prototypes.text_encoder is None
            assert settings.teacher is None or settings.teacher.name in ("self", "none")


@every_sweep
def test_a_tiny_sweep_says_what_it_replaced(name):
    said = replacements(cells_of(read_sweep(name)), tiny_cells(name))
    assert any(" for mit-b1" in words or " for conch" in words or "random for clip" in words for words in said)


def test_table_4_differs_in_the_number_of_sub_classes_alone():
    cells = cells_of(read_sweep("pbip-table4"))
    assert [cell.name for cell in cells] == ["K=1", "K=2", "K=3", "K=4", "K=5"]
    assert [cell.bank["per_class"] for cell in cells] == [1, 2, 3, 4, 5]
    assert len({str(cell.settings) for cell in cells}) == 1
    assert all(cell.bank["encoder"] == "medclip" and cell.bank["nearest"] == 100 for cell in cells)


def test_table_2_switches_terms_of_the_loss():
    models = {cell.name: cell.run_settings("").model for cell in cells_of(read_sweep("pbip-table2"))}
    assert models["CLS"].similarity_weight == 0
    assert models["CLS + FGS"].background_weight == 0
    assert models["CLS + BGS"].foreground_weight == 0
    assert models["FGS + BGS"].classification_weight == 0
    assert models["CLS + FGS + BGS"].similarity_weight == 0.5


def test_table_3_is_every_encoder_with_every_backbone():
    cells = cells_of(read_sweep("pbip-table3"))
    assert len({(cell.bank["encoder"], cell.settings["backbone"]["name"]) for cell in cells}) == 4 * 5


def test_table_5_takes_similarity_and_threshold_away():
    models = {cell.name: cell.run_settings("").model for cell in cells_of(read_sweep("pbip-table5"))}
    assert (models["SIM"].head, models["SIM"].foreground_fraction) == ("similarity", None)
    assert (models["AT"].head, models["AT"].foreground_fraction) == ("convolution", 0.15)
    assert (models["SIM + AT"].head, models["SIM + AT"].foreground_fraction) == ("similarity", 0.15)


def test_distillation_goes_with_its_teacher():
    teachers = {cell.name: cell.run_settings("").teacher for cell in cells_of(read_sweep("construct-distillation"))}
    assert teachers["with distillation"].weights == "hf:nvidia/mit-b1"
    assert teachers["without distillation"].name == "none"
    small = {cell.name: cell.run_settings("").teacher.name for cell in tiny_cells("construct-distillation")}
    assert small == {"with distillation": "self", "without distillation": "none"}


def test_merging_goes_into_mappings_and_replaces_everything_else():
    base = {"settings": {"model": {"a": 1, "b": 2}}, "bank": {"encoder": "x"}}
    both = merged(base, {"settings": {"model": {"b": 3}}, "bank": None})
    assert both == {"settings": {"model": {"a": 1, "b": 3}}, "bank": None}
    assert base["settings"]["model"]["b"] == 2


def test_cells_are_all_combinations_and_later_axes_go_over_earlier_ones(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "about: x\n"
        "base: {method: lpd, settings: {training: {epochs: 9}}}\n"
        "axes:\n"
        "  first: {a: {settings: {training: {epochs: 5}}}, b: }\n"
        "  second: {1: , 2: {settings: {training: {epochs: 7}}}}\n"
    )
    epochs = {cell.name: cell.run_settings("").training.epochs for cell in cells_of(read_sweep(str(file)))}
    assert epochs == {"a + 1": 5, "a + 2": 7, "b + 1": 9, "b + 2": 7}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b\n", "mine.yaml is no sweep: it needs about and axes"),
        ("a: [1\n", "mine.yaml is not valid YAML"),
        ("about: x\naxes: {}\n", "at least one axis"),
        ("axes: {k: {a: {method: cam}}}\n", "mine.yaml is no sweep: about: field required"),
        ("about: x\naxes: {k: {a: {method: cam}}}\nseed: 1\n", "mine.yaml is no sweep: seed: unexpected"),
        ("about: x\naxes: {k: {a: {method: cam, lr: 1}}}\n", "axes.k.a: there is no lr; there is method, preset"),
        ("about: x\naxes: {k: {a: {}}}\n", "a: give it either a method to train or zeroshot to ask"),
        ("about: x\naxes: {k: {a: {method: camm}}}\n", "unknown method 'camm'; did you mean cam?"),
        (
            "about: x\nbase: {method: lpd}\naxes: {k: {a: , b: {settings: {model: {prototype: 2}}}}}\n",
            "mine: b: there is no setting model.prototype",
        ),
        ("about: x\naxes: {k: {a: {method: lpd, settings: {training: {lr: fast}}}}}\n", "mine: a: training.lr"),
        ("about: x\naxes: {k: {a: {method: pbip}}}\n", "mine: a: pbip starts from an image bank; add bank"),
        ("about: x\naxes: {k: {a: {method: pbip, bank: {per_class: 3}}}}\n", "mine: a: bank: name its encoder"),
        (
            "about: x\naxes: {k: {a: {method: pbip, bank: {encoder: plip, near: 3}}}}\n",
            "mine: a: bank: there is no near; there is encoder, encoder_weights, per_class",
        ),
        ("about: x\naxes: {k: {a: {method: pbip, bank: {encoder: plip, nearest: 0}}}}\n", "--nearest 0"),
        ("about: x\naxes: {k: {a: {method: pbip, bank: {encoder: plipp}}}}\n", "mine: a: unknown encoder 'plipp'"),
        (
            "about: x\naxes: {k: {a: {method: lpd, settings: {backbone: {name: mit-b9}}}}}\n",
            "mine: a: unknown backbone 'mit-b9'",
        ),
        ("about: x\naxes: {k: {a: {zeroshot: {encoder: plip, prompts: speech}}}}\n", "mine: a: zeroshot: prompts"),
        ("about: x\naxes: {k: {a: {method: lpd}, b: {zeroshot: {encoder: plip}}}}\n", "make two sweeps of them"),
        ("about: x\naxes: {k: {a b: {method: lpd}, a-b: {method: cam}}}\n", "would share one folder"),
        ("about: x\nseeds: [1, 1]\naxes: {k: {a: {method: lpd}}}\n", "name at least one, and each once"),
        ("about: x\nseeds: [one]\naxes: {k: {a: {method: lpd}}}\n", "mine.yaml is no sweep: seeds.0"),
        ("about: x\naxes: {k: {a: {method: lpd}}}\npublished: {tables: [Table 9]}\n", "there is no 'Table 9'"),
        ("about: x\naxes: {k: {a: {method: lpd, settings: 3}}}\n", "mine: a: settings needs settings below it, not 3"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused_in_one_sentence(text, sentence, tmp_path):
    said = refused(text, tmp_path)
    assert sentence in said
    assert "\n" not in said
