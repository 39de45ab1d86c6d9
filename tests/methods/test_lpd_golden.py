import torch

from histoproto.backbones.mit import MiT, MiTShape
from histoproto.methods.lpd import LPD, LPDSettings
from histoproto.normalise import Normalise


def test_maps_and_scores_of_all_levels_equal_the_released_network(golden):
    numbers = golden("lpd_network")
    weights = {name.removeprefix("weights."): value for name, value in numbers.items() if name.startswith("weights.")}
    as_given = Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    backbone = MiT(MiTShape((16, 32, 40, 64), (2, 2, 2, 2)), normalise=as_given)
    backbone.fill({name: value for name, value in weights.items() if name.startswith("encoder.")}, "golden")
    settings = LPDSettings(
        prototypes_per_class=3,
        level_weights=(1.0, 1.0, 1.0, 1.0),
        prototype_dim=48,
        diversity_weight=0.0,
        form="released",
    )
    method = LPD(backbone, None, 4, settings).eval()
    method.prototypes.data = weights["prototypes"]
    for level, projection in enumerate(method.projections, start=1):
        own = {name.removeprefix(f"l_fc{level}."): v for name, v in weights.items() if name.startswith(f"l_fc{level}.")}
        projection.load_state_dict(own)
    method.scales.data = torch.cat([weights[f"logit_scale{level}"] for level in range(1, 5)])

    with torch.no_grad():
        maps = method.similarity_maps(numbers["image"])

    for level, level_maps in enumerate(maps, start=1):
        torch.testing.assert_close(level_maps, numbers[f"cam{level}"], atol=1e-4, rtol=0)
        torch.testing.assert_close(level_maps.mean((-2, -1)), numbers[f"cls{level}"], atol=1e-4, rtol=0)
