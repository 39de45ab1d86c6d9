"""What holds for every method's run folder, written by the real commands on a tiny study."""

import pytest
import torch

from histoproto.presets.changes import read_settings
from histoproto.presets.registry import METHODS
from histoproto.training.checkpoint import load_weights
from histoproto.wiring.methods import build
from histoproto.wiring.runs import TRAINING_ONLY, load_run
from tests.methods.law_cases import FACTS


@pytest.mark.parametrize("name", [name for name in METHODS if name in FACTS])
def test_a_trained_run_is_loaded_without_its_training_parts_and_gives_the_maps_of_the_whole_method(
    name, succeeds, tiny_study, tmp_path
):
    facts = FACTS[name]
    before, further = (
        [part.format(study=tiny_study, folder=tmp_path) for part in arguments]
        for arguments in (facts.before, facts.train)
    )
    if before:
        succeeds(*before)
    succeeds("train", name, tiny_study, "--run", tmp_path / "run", "--epochs", 1, "--batch", 16, *further)

    run = load_run(tmp_path / "run")
    config = run.folder.read_config()
    torch.manual_seed(9)  # what is drawn at random comes from the checkpoint
    whole = build(read_settings(config, run.folder.config_file), run.taxonomy).method
    load_weights(run.folder.checkpoint("best"), whole)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        found, expected = run.method.class_maps(images), whole.eval().class_maps(images)
        torch.testing.assert_close(found.maps, expected.maps, atol=0, rtol=0)
        torch.testing.assert_close(found.score_maps, expected.score_maps, atol=0, rtol=0)
        maps = run.method.prototype_maps(images)
        torch.testing.assert_close(maps, whole.prototype_maps(images), atol=0, rtol=0)
    assert run.method.counts == whole.counts
    assert len(run.method.prototypes) == maps.shape[1] == sum(run.method.counts)
    assert not [key for key in run.method.state_dict() if key.startswith(TRAINING_ONLY)]
