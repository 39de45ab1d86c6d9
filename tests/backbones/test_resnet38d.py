import pytest
import torch
from torch.nn.functional import batch_norm, conv2d, relu

from histoproto.backbones.registry import build_backbone
from histoproto.backbones.resnet38d import Block, ResNet38d, Stage, resnet38d
from histoproto.errors import WeightsError

BLOCKS = {"b2": 3, "b3": 3, "b4": 6, "b5": 3, "b6": 1, "b7": 1}
NARROW = {
    "stem": 4,
    "stages": (
        Stage(2, (4, 4), blocks=3, stride=2),
        Stage(3, (6, 6), blocks=3, stride=2),
        Stage(4, (8, 8), blocks=6, stride=2),
        Stage(5, (8, 12), blocks=3, dilation=2, first_dilation=1),
        Stage(6, (4, 8, 16), dilation=4, dropout=0.3),
        Stage(7, (8, 16, 20), dilation=4, dropout=0.5),
    ),
}
"""All blocks of the network, but few channels."""


@pytest.fixture(scope="module")
def network():
    """The network with statistics of its own, in evaluation mode; tests must not change it."""
    torch.manual_seed(2)
    made = ResNet38d(**NARROW).eval()
    for name, tensor in made.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bias")):
            tensor += 0.1 * torch.rand_like(tensor)
    return made


def published_names():
    """Return AffinityNet's names, written down from the structure of the paper."""
    names = ["conv1a.weight"]
    for stage, blocks in BLOCKS.items():
        for number in range(blocks):
            block = stage if number == 0 else f"{stage}_{number}"
            steps = ["2a", "2b1", "2b2"] if stage in ("b6", "b7") else ["2a", "2b1"]
            names += [f"{block}.conv_branch{step}.weight" for step in steps]
            names += [name for step in steps for name in norm_names(f"{block}.bn_branch{step}")]
            names += [f"{block}.conv_branch1.weight"] if number == 0 else []
    return names + norm_names("bn7")


def norm_names(norm):
    return [f"{norm}.{kind}" for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]


def mxnet_name(name):
    """Return the name in the published MXNet file, the other way round than the loader."""
    if name == "conv1a.weight":
        return "arg:conv1a_weight"
    kinds = {"bias": "beta", "weight": "gamma", "running_mean": "moving_mean", "running_var": "moving_var"}
    place = "aux" if "running" in name else "arg"
    *block, last = name.split(".")
    if block == ["bn7"]:
        return f"{place}:bn7_{kinds[last]}"
    stage, _, number = block[0].removeprefix("b").partition("_")
    layer, _, branch = block[1].partition("_")
    tensor = last if layer == "conv" else kinds[last]
    return f"{place}:{'res' if layer == 'conv' else 'bn'}{stage}{f'b{number}' if number else 'a'}_{branch}_{tensor}"


def test_tensors_have_affinitynets_names():
    with torch.device("meta"):
        made = ResNet38d()
    assert sorted(made.trunk.state_dict()) == sorted(published_names())


@pytest.mark.parametrize("naming", ["affinitynet", "mxnet"])
def test_a_file_under_either_naming_loads_in_full_without_its_head(naming, network, tmp_path):
    state = {name: tensor for name, tensor in network.trunk.state_dict().items() if "num_batches" not in name}
    if naming == "mxnet":
        held = {mxnet_name(name): tensor for name, tensor in state.items()}
        held |= {"arg:linear1000_weight": torch.zeros(10, 8), "arg:linear1000_bias": torch.zeros(10)}
        assert {"arg:res2a_branch2a_weight", "arg:bn4b5_branch2b1_beta", "aux:bn7_moving_mean"} <= held.keys()
    else:
        held = {**state, "fc8.weight": torch.zeros(20, 4096, 1, 1)}
    torch.save(held, tmp_path / "res38d.pth")

    backbone, weights = resnet38d(str(tmp_path / "res38d.pth"), **NARROW)

    assert weights.tensors == len(state)
    assert all(backbone.trunk.state_dict()[name].equal(tensor) for name, tensor in state.items())
    assert not backbone.train().trunk.bn7.training


def test_a_truncated_table_is_refused(network, tmp_path):
    state = {name: tensor for name, tensor in network.trunk.state_dict().items() if name.startswith(("conv1a", "b2"))}
    torch.save(state, tmp_path / "res38d.pth")
    with pytest.raises(WeightsError, match=r"lacks \d+ of \d+ tensors \(b3\."):
        build_backbone("resnet-38d", str(tmp_path / "res38d.pth"), **NARROW)


def test_without_weights_statistics_follow_the_training_patches():
    backbone, _ = resnet38d(**NARROW)
    assert backbone.train().trunk.bn7.training


def test_levels_are_the_activated_inputs_of_the_next_stage(network):
    seen = {}
    for name in ("b4.bn_branch2a", "b5.bn_branch2a", "b6.bn_branch2a", "bn7"):
        network.trunk.get_submodule(name).register_forward_hook(lambda *given, name=name: seen.update({name: given[2]}))
    with torch.no_grad():
        levels = network.trunk(torch.rand(1, 3, 24, 32))
    assert [tuple(level.shape[-2:]) for level in levels] == [(6, 8), (3, 4), (3, 4), (3, 4)]
    for level, found in zip(levels, seen.values(), strict=True):
        assert level.equal(relu(found))


def test_a_block_is_the_formula_of_the_paper():
    """Pre-activation: the shortcut of a block that changes shape starts behind BatchNorm and ReLU."""
    block = Block(4, (6, 8), stride=2, dilations=(1, 2), dropout=0.0).eval()
    state = block.state_dict()
    for name in state:
        if "running" in name or name.endswith("bias"):
            state[name] += torch.rand_like(state[name])
    x = torch.randn(2, 4, 9, 9)

    def norm(step, value):
        parts = (state[f"bn_{step}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
        return batch_norm(value, *parts)

    start = relu(norm("branch2a", x))
    branch = conv2d(start, state["conv_branch2a.weight"], stride=2, padding=1)
    branch = conv2d(relu(norm("branch2b1", branch)), state["conv_branch2b1.weight"], padding=2, dilation=2)
    expected = conv2d(start, state["conv_branch1.weight"], stride=2) + branch

    with torch.no_grad():
        torch.testing.assert_close(block(x), (expected, start))


def test_a_block_that_keeps_its_shape_adds_to_its_own_input():
    block = Block(8, (4, 8), stride=1, dilations=(1, 1), dropout=0.0).eval()
    torch.nn.init.zeros_(block.get_submodule("conv_branch2b1").weight)
    x = torch.randn(1, 8, 5, 5)
    assert "conv_branch1.weight" not in block.state_dict()
    assert block(x)[0].equal(x)
