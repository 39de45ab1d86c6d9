import pytest

from histoproto.errors import ConfigError
from histoproto.sweeps.cells import cells_of
from histoproto.sweeps.definition import read_sweep
from histoproto.sweeps.given import read_weights, with_one_encoder, with_weights


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(b"")
    return read_weights([f"medclip={file}", f"resnet-38d={file}"])


def test_weights_reach_every_place_that_has_the_network(weights):
    cells = with_weights(cells_of(read_sweep("pbip-table3")), weights, "pbip-table3")
    for cell in cells:
        wants = cell.bank["encoder"] == "medclip"
        assert cell.bank.get("encoder_weights") == (weights["medclip"] if wants else None)
        if cell.settings["backbone"]["name"] == "resnet-38d":
            assert cell.settings["backbone"]["weights"] == weights["resnet-38d"]


def test_weights_of_the_encoder_of_a_loss_are_settings(weights):
    source = {"medclip": weights["medclip"]}
    for cell in with_weights(cells_of(read_sweep("lpd-prototypes")), source, "lpd-prototypes"):
        assert cell.run_settings("").encoder.weights == weights["medclip"]


def test_weights_that_no_hub_has_are_asked_for_in_one_sentence():
    with pytest.raises(ConfigError) as error:
        with_weights(cells_of(read_sweep("pbip-table4")), {}, "pbip-table4")
    assert "pbip-table4 needs weights that no hub has: --weights medclip=FILE" in str(error.value)
    assert "--encoder plip" in str(error.value)


def test_another_encoder_takes_the_place_of_the_one_that_all_cells_share():
    cells = with_one_encoder(cells_of(read_sweep("pbip-table1")), "plip", "pbip-table1")
    assert {own for cell in cells for own in cell.encoders} == {"plip"}
    assert with_weights(cells, {}, "pbip-table1") == cells


def test_encoders_that_are_compared_cannot_be_replaced():
    with pytest.raises(ConfigError, match=r"pbip-table3 compares encoders \(clip, dinov2-b, medclip, plip\)"):
        with_one_encoder(cells_of(read_sweep("pbip-table3")), "plip", "pbip-table3")


@pytest.mark.parametrize(
    ("text", "sentence"), [("medclip", "write NAME=FILE"), ("medclip=gone.bin", "gone.bin is not there")]
)
def test_weights_of_another_form_are_refused(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_weights([text])


def test_weights_that_nothing_asks_for_are_refused(weights):
    with pytest.raises(ConfigError, match="no cell of pbip-table4 has a network of this name"):
        with_weights(cells_of(read_sweep("pbip-table4")), weights, "pbip-table4")
