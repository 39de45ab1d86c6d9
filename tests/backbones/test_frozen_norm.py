import pytest
import torch

from histoproto.backbones.registry import build_backbone


def running_statistics(backbone):
    """Statistics that came with the weights; MobileNetV2's level norms are new and learn theirs."""
    return {
        name: value.clone()
        for name, value in backbone.named_buffers()
        if "running" in name and not name.startswith("norms.")
    }


@pytest.mark.parametrize(("name", "options"), [("mobilenet-v2", {}), ("timm:test_resnet", {"frozen_norm": True})])
def test_a_parents_train_does_not_wake_frozen_batch_norm(name, options):
    backbone, _ = build_backbone(name, **options)
    parent = torch.nn.Sequential(backbone)
    before = running_statistics(backbone)

    parent.eval()
    parent.train()
    levels = parent(torch.rand(2, 3, 64, 64))
    levels[-1].sum().backward()

    assert backbone.training
    assert before
    for name, value in running_statistics(backbone).items():
        assert torch.equal(value, before[name]), name
    assert all(p.requires_grad for p in backbone.parameters())


def test_batch_norm_moves_where_it_is_not_frozen():
    backbone, _ = build_backbone("timm:test_resnet")
    before = running_statistics(backbone)
    backbone(torch.rand(2, 3, 64, 64))
    assert any(not torch.equal(value, before[name]) for name, value in running_statistics(backbone).items())
