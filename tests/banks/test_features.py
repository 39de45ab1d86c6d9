import numpy as np
import torch
from PIL import Image

from histoproto.backbones.small_conv import small_conv
from histoproto.banks.features import encode_patches, fingerprint, load_features, save_features
from histoproto.banks.white import white_share
from histoproto.encoders.backbone_mean import BackboneEncoder
from histoproto.encoders.random_conv import RandomEncoder

CPU = torch.device("cpu")


def write(folder, number, size_px, colour=None):
    rgb = np.random.default_rng(number).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
    if colour is not None:
        rgb[:] = colour
    path = folder / f"{number}.png"
    Image.fromarray(rgb).save(path)
    return path


def test_features_come_in_the_order_of_the_patches_whatever_their_sizes_and_batches(tmp_path):
    paths = [write(tmp_path, number, size) for number, size in enumerate((16, 24, 24, 16, 16))]
    encoder, seen = RandomEncoder(), []
    together = encode_patches(encoder, paths, CPU, seen.append, batch=4)
    alone = [encode_patches(encoder, [path], CPU, seen.append).vectors for path in paths]
    torch.testing.assert_close(together.vectors, torch.cat(alone))
    assert seen == [4, 1, 1, 1, 1, 1, 1]


def test_kept_features_are_given_back_for_their_own_key_alone(tmp_path):
    paths = [write(tmp_path, 0, 16)]
    features = encode_patches(RandomEncoder(), paths, CPU, lambda _count: None)
    file = tmp_path / "features" / "a.safetensors"
    assert load_features(file, "key") is None
    save_features(file, "key", features)
    assert torch.equal(load_features(file, "key").vectors, features.vectors)
    assert load_features(file, "other") is None
    file.write_bytes(file.read_bytes()[:30])
    assert load_features(file, "key") is None


def test_a_fingerprint_tells_networks_apart_even_outside_of_the_state_dict():
    torch.manual_seed(0)
    first = BackboneEncoder(small_conv(widths=(4, 4, 4, 4))[0])
    assert not first.state_dict()
    again = BackboneEncoder(small_conv(widths=(4, 4, 4, 4))[0])
    assert fingerprint(first) == fingerprint(first)
    assert fingerprint(first) != fingerprint(again)
    again.frozen.network.load_state_dict(first.frozen.network.state_dict())
    assert fingerprint(first) == fingerprint(again)


def test_glass_is_white_and_pale_tissue_is_not():
    def share(colour):
        return white_share(np.full((8, 8, 3), colour, np.uint8))

    assert share((245, 243, 246)) == 1  # glass
    assert share((235, 200, 220)) == 0  # pale eosin
    assert share((128, 128, 128)) == 0  # grey shadow
    half = np.full((8, 8, 3), 250, np.uint8)
    half[:4] = (150, 60, 140)
    assert white_share(half) == 0.5
