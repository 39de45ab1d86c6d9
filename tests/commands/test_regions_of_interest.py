import numpy as np
import shapely

from histoproto.commands.regions_of_interest import names_of, rings_of
from histoproto.formats.qupath import QuPathObject

BOX = shapely.box(0, 0, 10, 10)


def region(name=None, label=None, geometry=BOX):
    return QuPathObject(geometry, name=name, label=label)


def test_each_region_has_a_name_of_its_own():
    drawn = [region("Tumor", "left"), region("Tumor"), region("Tumor"), region(), region(label="slide")]
    assert names_of(drawn) == ["left", "Tumor", "Tumor (2)", "region", "slide (2)"]


def test_a_name_that_somebody_has_given_is_not_given_again():
    assert len(set(names_of([region(label="a"), region(label="a (2)"), region(label="a")]))) == 3


def test_outlines_are_closed_and_hold_holes_but_not_tissue():
    hole = shapely.Polygon(BOX.exterior, [shapely.box(2, 2, 4, 4).exterior])
    both = shapely.MultiPolygon([hole, shapely.box(20, 0, 30, 10)])
    (name, rings), *others = rings_of([region("Tumor", geometry=both), region("Tissue")]).items()
    assert (name, others) == ("Tumor", [])
    assert [len(ring) for ring in rings] == [5, 5, 5]
    assert all(np.array_equal(ring[0], ring[-1]) for ring in rings)
