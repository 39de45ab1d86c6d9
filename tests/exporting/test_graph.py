import numpy as np
import pytest
import torch

from histoproto.backbones.small_conv import small_conv
from histoproto.contracts import MethodSettings
from histoproto.exporting.graph import EvidenceGraph
from histoproto.inference.evidence import evidence_of
from histoproto.inference.settings import InferenceSettings
from histoproto.methods.cam import CAM

WINDOW_PX = 48


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return CAM(small_conv(widths=(8, 8, 8, 8))[0], 3, MethodSettings()).eval()


@pytest.mark.parametrize("views", ["none", "d4", "released"])
@pytest.mark.parametrize("size", [(48, 48), (70, 101), (33, 20), (9, 60), (5, 3)])
def test_the_graph_computes_the_evidence_of_any_image(model, views, size):
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    evidence = evidence_of(model, rgb, WINDOW_PX, InferenceSettings(views=views))
    images = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None].float() / 255
    with torch.no_grad():
        maps, local, scores = EvidenceGraph(model, views, WINDOW_PX)(images)
    assert torch.allclose(maps[0], evidence.maps, atol=1e-6)
    assert torch.allclose(local[0], evidence.scores, atol=1e-6)
    assert scores.shape == (1, 3)


def test_scores_of_an_image_of_the_windows_size_are_its_local_scores(model):
    with torch.no_grad():
        _, local, scores = EvidenceGraph(model, "none", WINDOW_PX)(torch.rand(2, 3, WINDOW_PX, WINDOW_PX))
    assert torch.allclose(local, scores[:, :, None, None].expand_as(local), atol=1e-6)
