import numpy as np
from PIL import Image

from histoproto.banks.sheets import Strip, draw_sheet


def test_a_sheet_shows_each_sub_classes_patches_below_each_other_beside_the_class_colour(tmp_path):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    paths = []
    for number, colour in enumerate(colours):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (20 + 300 * number, 20), colour).save(paths[-1])
    sheet = np.asarray(draw_sheet("Tumour", (255, 0, 0), [Strip("first", paths[:2]), Strip("second", paths[2:])]))
    assert (sheet[:, 0] == (255, 0, 0)).all()
    rows = [np.flatnonzero((sheet == colour).all(-1).any(1)) for colour in colours]
    assert len(rows[0]) == 160  # a small patch is enlarged
    assert 0 < len(rows[1]) < 20  # a wide one keeps its shape
    assert rows[2].min() > rows[0].max()
