import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from histoproto.contracts import Region
from histoproto.data.phantom import write_slide
from histoproto.slides.reader import open_image
from histoproto.slides.resample import at_mpp
from histoproto.slides.sharpness import BLURRED, sharpness


@pytest.fixture(scope="module")
def tissue(tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    write_slide(path, width_px=1024, height_px=1024, seed=1)
    return path


def patches_of(path, mpp):
    reader = at_mpp(open_image(path), mpp)
    try:
        side = 96
        begin = reader.width_px // 2 - side
        return [reader.read(Region(begin + x, begin + y, side, side)) for x in (0, side) for y in (0, side)]
    finally:
        reader.close()


def blurred(rgb, sigma):
    return np.rint(gaussian_filter(rgb.astype(float), (sigma, sigma, 0))).astype(np.uint8)


@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_a_blurred_copy_is_told_from_sharp_tissue_at_any_resolution(tissue, mpp):
    for patch in patches_of(tissue, mpp):
        assert sharpness(patch) > 1.1 * BLURRED
        assert sharpness(blurred(patch, 2)) < BLURRED
        assert sharpness(patch) > sharpness(blurred(patch, 1)) > sharpness(blurred(patch, 2))


def test_the_strength_of_the_stain_does_not_count(tissue):
    for patch in patches_of(tissue, 1.0):
        density = np.log(np.maximum(patch, 1) / 255)
        pale = np.rint(255 * np.exp(0.5 * density)).astype(np.uint8)
        assert sharpness(pale) == pytest.approx(sharpness(patch), rel=0.1)


def test_a_patch_of_one_shade_has_no_sharpness():
    assert sharpness(np.full((64, 64, 3), 200, np.uint8)) == 0


def test_a_wave_of_known_size_has_the_ratio_of_its_gaussians():
    """A Gaussian of standard deviation s weakens a wave of angular frequency w by exp(-(w s)^2 / 2)."""
    x = np.arange(2048)  # long: at its ends a wave is mirrored
    for period_px in (4, 8, 16):
        density = 0.5 + 0.2 * np.sin(2 * np.pi * x / period_px)
        rgb = np.broadcast_to((255 * 10**-density)[None, :, None], (32, 2048, 3)).round().astype(np.uint8)
        fine, coarse = (np.exp(-((2 * np.pi / period_px * s) ** 2) / 2) for s in (1, 4))
        assert sharpness(rgb) == pytest.approx((1 - fine) / (fine - coarse), rel=0.02)
