import torch

from histoproto.backbones.mit import MiT, MiTShape
from histoproto.contracts import Prototypes
from histoproto.methods.pbip import PBIP, PBIPSettings
from histoproto.normalise import Normalise


def test_maps_and_scores_of_all_levels_equal_the_released_network(golden):
    numbers = golden("pbip_network")
    weights = {name.removeprefix("weights."): value for name, value in numbers.items() if name.startswith("weights.")}
    as_given = Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    backbone = MiT(MiTShape((16, 32, 40, 64), (2, 2, 2, 2)), normalise=as_given)
    backbone.fill({name: value for name, value in weights.items() if name.startswith("encoder.")}, "golden")
    settings = PBIPSettings(level_weights=(1.0, 1.0, 1.0, 1.0), fusion_weights=(0.0, 0.3, 0.3, 0.4), form="released")
    method = PBIP(backbone, None, Prototypes(numbers["prototypes"], (3, 3, 3, 3)), settings).eval()
    for level, head in enumerate(method.heads, start=1):
        own = {name.removeprefix(f"l_fc{level}."): v for name, v in weights.items() if name.startswith(f"l_fc{level}.")}
        head.projection.load_state_dict(own)
        head.scale.data = weights[f"logit_scale{level}"]

    with torch.no_grad():
        maps = method.similarity_maps(numbers["image"])

    for level, level_maps in enumerate(maps, start=1):
        torch.testing.assert_close(level_maps, numbers[f"cam{level}"], atol=1e-4, rtol=0)
        torch.testing.assert_close(level_maps.mean((-2, -1)), numbers[f"cls{level}"], atol=1e-4, rtol=0)
