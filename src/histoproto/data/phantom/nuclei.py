"""What lies on the ground of each tissue: nuclei, capillaries, ghosts of cells and nuclear dust.

Sizes are those of the real things: tumour nuclei 10 to 16 micrometres wide and vesicular, spindle nuclei about 4 by 15,
lymphocytes 5 to 7 and dark, red cells 4 (cut), dust below 2. The mask follows the nuclei, so that it stays exact where
a nucleus reaches over the border of its tissue.
"""

from dataclasses import replace

import numpy as np

from histoproto.data.phantom.cells import Outline, Places
from histoproto.data.phantom.layout import LYMPHOCYTES, NECROSIS, STROMA, TUMOUR
from histoproto.data.phantom.noise import Floats
from histoproto.data.phantom.scene import Scene

_STRAY_IN_STROMA, _STRAY_IN_TUMOUR = 0.03, 0.01
"""Chance of a single lymphocyte at a possible place outside aggregates; its pixels keep the tissue's class."""


def add_nuclei(scene: Scene) -> None:
    """Put all cells and debris into the scene, from the deepest layer to the topmost."""
    for part in (_ghosts, _dust, _capillaries, _spindles, _membranes, _tumour_nuclei, _lymphocytes):
        part(scene)


def _shape(places: Places, long_um: Floats, wide_um: Floats, angle: Floats, lobes: float, bend: float) -> Outline:
    """Outlines of the given size whose lobes and bend differ from point to point."""
    return Outline(
        long_um=long_um.astype(np.float32),
        wide_um=wide_um.astype(np.float32),
        angle=angle.astype(np.float32),
        lobes=places.draw("lobes", 0.2 * lobes, lobes),
        phase=places.draw("phase", 0.0, 2 * np.pi),
        bend=places.draw("bend", -bend, bend),
    )


def _moved(places: Places, distance_um: Floats, direction: Floats) -> Places:
    """The points moved by a distance in a direction, which is an angle in radians."""
    return replace(
        places,
        y_um=places.y_um + distance_um * np.sin(direction),
        x_um=places.x_um + distance_um * np.cos(direction),
    )


def _normal(places: Places, what: str) -> Floats:
    """Roughly normal numbers of unit variance, shape (points,): the sum of three uniform ones."""
    parts = [places.draw(f"{what} {part}", -1.0, 1.0) for part in range(3)]
    return np.asarray(np.sum(parts, axis=0), dtype=np.float32)


def _turn(places: Places) -> Floats:
    """Random angles in radians, shape (points,)."""
    return places.draw("turn", 0.0, 2 * np.pi)


def _tumour_cells(scene: Scene) -> Places:
    return scene.places("tumour", scene.habit.tumour_spacing_um, 0.28, [TUMOUR])


def _membranes(scene: Scene) -> None:
    """Borders of tumour cells: the upper hull of one cone per cell has its valleys where two cells meet."""
    places = _tumour_cells(scene)
    if not len(places):
        return
    size = np.full(len(places), scene.habit.tumour_spacing_um * 0.72, dtype=np.float32)
    stamps = scene.canvas.stamps(places, _shape(places, size, size, _turn(places), 0.0, 0.0))
    body = np.clip(scene.canvas.press(stamps, np.clip(1 - stamps.radius, 0, 1)) / 0.3, 0, 1)
    scene.stains.eosin *= 1 + scene.shares[TUMOUR] * (0.22 - 0.36 * body)


def _tumour_nuclei(scene: Scene) -> None:
    """Large vesicular nuclei of very different size, with coarse chromatin and nucleoli."""
    places = _tumour_cells(scene)
    if not len(places):
        return
    habit = scene.habit
    radius = (habit.tumour_radius_um * np.exp(habit.pleomorphism * _normal(places, "size"))).clip(3.6, 9.5)
    stretch = places.draw("stretch", 1.0, 1.22)
    stamps = scene.canvas.stamps(places, _shape(places, radius * stretch, radius / stretch, _turn(places), 0.09, 0.25))
    tone = places.draw("tone", 0.55, 1.05)[:, None, None]
    pale = np.clip(habit.vesicular + 0.2 * _normal(places, "pale"), 0.15, 0.9)[:, None, None]
    membrane = np.exp(-(((stamps.radius - 0.9) / 0.13) ** 2))
    cover = scene.canvas.press(stamps, stamps.edge)
    density = scene.canvas.press(stamps, stamps.edge * tone * (1 - 0.62 * pale + 0.5 * pale * membrane))
    chromatin = scene.noise("chromatin", 0.9) + 0.7 * scene.noise("chromatin clumps", 1.8)
    density = density * (1 + 0.24 * chromatin).clip(0.2, None)
    for name, chance in (("first nucleolus", 0.85), ("second nucleolus", 0.35)):
        chosen = places.draw(name) < chance
        kept, kept_radius = places.where(chosen), radius[chosen]
        if len(kept):
            away_um = kept.draw(f"{name} away", 0.0, 0.45) * kept_radius
            spot = _moved(kept, away_um, kept.draw(f"{name} turn", 0.0, 2 * np.pi))
            size = kept.draw(f"{name} size", 0.13, 0.22) * kept_radius
            stamps = scene.canvas.stamps(spot, _shape(spot, size, size, _turn(spot), 0.05, 0.0))
            density = np.maximum(density, 1.05 * scene.canvas.press(stamps, stamps.edge))
    scene.stains.cover(cover, density + 0.04, scene.stains.eosin * 0.55)
    scene.claim(TUMOUR, cover)


def _spindles(scene: Scene) -> None:
    """Thin nuclei of fibroblasts, aligned with the collagen."""
    places = scene.places("spindles", 11.0, 0.38, [STROMA])
    cellular = scene.habit.spindle_density + 0.16 * scene.noise_at_places(places, "cellular", 45.0)
    places = places.where(places.draw("is there") < cellular)
    if not len(places):
        return
    angle = scene.read(scene.fibre_angle, places) + 0.16 * _normal(places, "tilt")
    shape = _shape(places, places.draw("long", 5.5, 10.0), places.draw("wide", 1.2, 2.1), angle, 0.06, 0.9)
    stamps = scene.canvas.stamps(places, shape)
    cover = scene.canvas.press(stamps, stamps.edge)
    density = scene.canvas.press(stamps, stamps.edge * places.draw("tone", 0.65, 1.1)[:, None, None])
    scene.stains.cover(cover, density * (1 + 0.12 * scene.noise("chromatin", 0.9)), scene.stains.eosin * 0.7)
    scene.claim(STROMA, cover)


def _capillaries(scene: Scene) -> None:
    """Small vessels in the stroma: a wall with two flat nuclei, a lumen, a few red cells."""
    places = scene.places("capillaries", 52.0, 0.4, [STROMA])
    places = places.where(places.draw("is there") < 0.3)
    if not len(places):
        return
    radius, angle = places.draw("radius", 4.0, 6.5), scene.read(scene.fibre_angle, places)
    long_um = radius * places.draw("oblique", 1.1, 1.6)
    stamps = scene.canvas.stamps(places, _shape(places, long_um, radius, angle, 0.08, 0.2))
    share = scene.shares[STROMA]
    scene.stains.cover(scene.canvas.press(stamps, stamps.edge) * share, 0.3, 0.5)
    lumen = np.clip((0.84 - stamps.radius) * 7, 0, 1)
    scene.stains.cover(scene.canvas.press(stamps, lumen) * share, 0.02, 0.06)
    for side in (-1, 1):
        across = angle + np.float32(np.pi / 2) + places.draw(f"wall {side}", -0.7, 0.7)
        moved = _moved(places, side * radius, across)
        stamps = scene.canvas.stamps(moved, _shape(moved, radius * 0.6, radius * 0.2, angle, 0.05, 0.5))
        scene.stains.cover(scene.canvas.press(stamps, stamps.edge) * share, 0.75, 0.15)
    for cell in range(5):
        turn = places.draw(f"red turn {cell}", 0.0, 2 * np.pi)
        moved = _moved(places, places.draw(f"red away {cell}", 0.1, 0.55) * radius, turn)
        size = np.full(len(places), 1.9, dtype=np.float32)
        stamps = scene.canvas.stamps(moved, _shape(moved, size, size * 0.85, turn, 0.05, 0.0))
        there = (places.draw(f"red {cell}") < 0.6)[:, None, None]
        scene.stains.cover(scene.canvas.press(stamps, stamps.edge * there) * share, 0.03, 0.8)


def _lymphocytes(scene: Scene) -> None:
    """Small round dark nuclei, packed in aggregates and strewn singly over stroma and tumour."""
    places = scene.places("lymphocytes", 6.9, 0.3, [LYMPHOCYTES, STROMA, TUMOUR])
    home = scene.read(scene.areas, places)
    dense = scene.habit.lymphocyte_density + 0.1 * scene.noise_at_places(places, "dense", 30.0)
    stray = np.where(home == STROMA, np.float32(_STRAY_IN_STROMA), np.float32(_STRAY_IN_TUMOUR))
    chosen = places.draw("is there") < np.where(home == LYMPHOCYTES, dense.clip(0.5, 1), stray)
    places, home = places.where(chosen), home[chosen]
    if not len(places):
        return
    radius = places.draw("radius", 2.4, 3.6)
    stamps = scene.canvas.stamps(places, _shape(places, radius * 1.08, radius * 0.97, _turn(places), 0.1, 0.15))
    cover = scene.canvas.press(stamps, stamps.edge)
    density = scene.canvas.press(stamps, stamps.edge * places.draw("tone", 0.75, 1.1)[:, None, None])
    scene.stains.cover(cover, density * (1 + 0.16 * scene.noise("clumps", 0.8)), scene.stains.eosin * 0.5)
    # A lymphocyte on its own in stroma or tumour does not make a lymphocyte aggregate.
    own = stamps.edge * (home == LYMPHOCYTES)[:, None, None]
    scene.claim(LYMPHOCYTES, scene.canvas.press(stamps, own))


def _ghosts(scene: Scene) -> None:
    """Outlines of dead cells whose nuclei have faded."""
    places = scene.places("ghosts", 12.0, 0.3, [NECROSIS])
    places = places.where(places.draw("is there") < 0.6)
    if not len(places):
        return
    radius = places.draw("radius", 3.8, 6.2)
    stamps = scene.canvas.stamps(places, _shape(places, radius, radius * 0.85, _turn(places), 0.12, 0.4))
    rim = scene.canvas.press(stamps, np.exp(-(((stamps.radius - 0.95) / 0.16) ** 2)))
    core = scene.canvas.press(stamps, stamps.edge)
    share = scene.shares[NECROSIS]
    scene.stains.eosin *= 1 + share * (0.45 * rim - 0.3 * core)
    scene.stains.haematoxylin *= 1 - 0.35 * share * core


def _dust(scene: Scene) -> None:
    """Fragments of nuclei, in clouds: mostly specks, now and then a shrunken nucleus."""
    places = scene.places("dust", 3.0, 0.45, [NECROSIS])
    clouds = 0.36 + 0.2 * scene.noise_at_places(places, "dust clouds", 9.0)
    places = places.where(places.draw("is there") < scene.habit.dust_density * clouds)
    if not len(places):
        return
    size = 0.4 + 1.9 * places.draw("size") ** 4
    stamps = scene.canvas.stamps(places, _shape(places, size * 1.2, size * 0.9, _turn(places), 0.25, 0.5))
    cover = scene.canvas.press(stamps, stamps.edge) * scene.shares[NECROSIS]
    density = scene.canvas.press(stamps, stamps.edge * places.draw("tone", 0.5, 1.15)[:, None, None])
    scene.stains.cover(cover, density, scene.stains.eosin * 0.9)
