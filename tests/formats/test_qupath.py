import gzip
import json
import re

import jsonschema
import pytest
from shapely import MultiPolygon, Polygon, box
from shapely.geometry import mapping

from histoproto.errors import DataError
from histoproto.formats.qupath import QuPathObject, read_qupath, write_qupath

POINT = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
RING = {"type": "array", "items": POINT, "minItems": 4}
RINGS = {"type": "array", "items": RING, "minItems": 1}
COLOUR = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 255},
    "minItems": 3,
    "maxItems": 3,
}
QUPATH_SCHEMA = {
    "type": "object",
    "required": ["type", "features"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "id", "geometry", "properties"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "Feature"},
                    "id": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
                    "geometry": {
                        "oneOf": [
                            {"properties": {"type": {"const": "Polygon"}, "coordinates": RINGS}},
                            {
                                "properties": {
                                    "type": {"const": "MultiPolygon"},
                                    "coordinates": {"type": "array", "items": RINGS, "minItems": 1},
                                }
                            },
                        ],
                        "required": ["type", "coordinates"],
                    },
                    "properties": {
                        "type": "object",
                        "required": ["objectType"],
                        "additionalProperties": False,
                        "properties": {
                            "objectType": {"enum": ["annotation", "detection", "cell", "tile", "tmaCore"]},
                            "name": {"type": "string"},
                            "classification": {
                                "type": "object",
                                "oneOf": [{"required": ["name"]}, {"required": ["names"]}],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"type": "string"},
                                    "names": {"type": "array", "items": {"type": "string"}, "minItems": 2},
                                    "color": COLOUR,
                                },
                            },
                            "measurements": {"type": "object", "additionalProperties": {"type": "number"}},
                            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                        },
                    },
                },
            },
        },
    },
}
RING_WITH_HOLE = Polygon(box(0, 0, 10, 10).exterior, [box(2, 2, 4, 4).exterior])
OBJECTS = [
    QuPathObject(RING_WITH_HOLE, "Tumour", (255, 0, 0), {"Area mm^2": 0.25, "Confidence": 0.5}),
    QuPathObject(
        MultiPolygon([box(20, 0, 30.25, 5), box(40, 0, 50, 5)]), "Tumor: Positive", (1, 2, 3), label="Biopsy Ä"
    ),
    QuPathObject(box(60, 0, 70, 70), kind="detection", metadata={"slide": "Schnitt Ä.svs"}),
]
SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}


def feature(geometry=SQUARE, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def read(tmp_path, content):
    file = tmp_path / "export.geojson"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_qupath(file)


def refusal(tmp_path, content):
    with pytest.raises(DataError) as error:
        read(tmp_path, content)
    assert str(tmp_path / "export.geojson") in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["regions.geojson", "regions.geojson.gz"])
def test_what_is_written_is_read_again(tmp_path, name):
    write_qupath(tmp_path / name, OBJECTS)
    again = read_qupath(tmp_path / name)
    assert [(o.name, o.colour, o.measurements, o.kind, o.label, o.metadata) for o in again] == [
        (o.name, o.colour, o.measurements, o.kind, o.label, o.metadata) for o in OBJECTS
    ]
    assert all(new.geometry.equals(old.geometry) for new, old in zip(again, OBJECTS, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_file_follows_the_rules_of_qupath(tmp_path):
    write_qupath(tmp_path / "regions.geojson", OBJECTS)
    content = json.loads((tmp_path / "regions.geojson").read_text(encoding="utf-8"))
    jsonschema.validate(content, QUPATH_SCHEMA)
    assert content["features"][0]["properties"]["classification"] == {"name": "Tumour", "color": [255, 0, 0]}
    assert content["features"][1]["properties"]["classification"]["names"] == ["Tumor", "Positive"]
    assert "classification" not in content["features"][2]["properties"]


def test_no_objects_are_an_empty_collection(tmp_path):
    write_qupath(tmp_path / "regions.geojson.gz", iter(()))
    with gzip.open(tmp_path / "regions.geojson.gz") as file:
        jsonschema.validate(json.load(file), QUPATH_SCHEMA)
    assert read_qupath(tmp_path / "regions.geojson.gz") == []


def test_equal_objects_give_equal_bytes_and_repeated_ones_different_ids(tmp_path):
    for name in ("a.geojson.gz", "b.geojson.gz"):
        write_qupath(tmp_path / name, OBJECTS * 2)
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()
    with gzip.open(tmp_path / "a.geojson.gz") as file:
        assert len({entry["id"] for entry in json.load(file)["features"]}) == 2 * len(OBJECTS)


def test_a_failure_half_way_leaves_the_old_file(tmp_path):
    write_qupath(tmp_path / "a.geojson", OBJECTS[:1])
    bad = QuPathObject(box(0, 0, 1, 1), measurements={"Confidence": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        write_qupath(tmp_path / "a.geojson", [*OBJECTS, bad])
    assert len(read_qupath(tmp_path / "a.geojson")) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match="geojson"):
        write_qupath(tmp_path / "a.json.zip", OBJECTS)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "FeatureCollection", "features": [feature(objectType="annotation")]},
        [feature(object_type="annotation")],
        feature(),
        {**feature(), "id": "PathAnnotationObject"},
    ],
    ids=["collection", "list", "one feature", "QuPath 0.2"],
)
def test_every_arrangement_that_qupath_exports_is_read(tmp_path, content):
    (entry,) = read(tmp_path, content)
    assert entry.geometry.area == 16
    assert (entry.kind, entry.name, entry.colour, dict(entry.measurements)) == ("annotation", None, None, {})


def test_cells_and_detections_keep_their_kind(tmp_path):
    content = [feature(objectType="cell"), {**feature(), "id": "PathDetectionObject"}]
    assert [entry.kind for entry in read(tmp_path, content)] == ["cell", "detection"]


@pytest.mark.parametrize(
    ("classification", "name", "colour"),
    [
        ({"name": "Stroma", "color": [150, 200, 150]}, "Stroma", (150, 200, 150)),
        ({"name": "Stroma", "color": [150, 200, 150, 128]}, "Stroma", (150, 200, 150)),
        ({"name": "Tumor", "colorRGB": -3670016}, "Tumor", (200, 0, 0)),
        ({"names": ["Tumor", "Positive"], "color": [1, 2, 3]}, "Tumor: Positive", (1, 2, 3)),
        ("Necrosis", "Necrosis", None),
        ({}, None, None),
        (None, None, None),
    ],
)
def test_classes_of_all_versions_are_understood(tmp_path, classification, name, colour):
    (entry,) = read(tmp_path, feature(classification=classification))
    assert (entry.name, entry.colour) == (name, colour)


def test_measurements_of_all_versions_are_understood_and_missing_ones_left_out(tmp_path):
    new = json.dumps(feature(measurements={"a": 1, "b": float("nan")}))
    old = feature(measurements=[{"name": "a", "value": 1}])
    for content in (new, old):
        (entry,) = read(tmp_path, content)
        assert entry.measurements == {"a": 1.0}


def test_points_and_lines_are_left_out(tmp_path):
    point = {"type": "Point", "coordinates": [1, 2]}
    line = {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}
    assert len(read(tmp_path, [feature(point), feature(), feature(line)])) == 1


def test_a_crossing_ring_is_repaired(tmp_path):
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]}
    (entry,) = read(tmp_path, feature(bow_tie))
    assert entry.geometry.is_valid
    assert entry.geometry.area == 8
    assert entry.geometry.geom_type == "MultiPolygon"


def test_an_open_ring_is_closed(tmp_path):
    ring = {"type": "Polygon", "coordinates": [SQUARE["coordinates"][0][:-1]]}
    assert read(tmp_path, feature(ring))[0].geometry.area == 16


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}), "broken Polygon"),
        (feature({"type": "Polygon"}), "broken Polygon"),
        (feature({"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 0], [0, 0]]]}), "broken Polygon"),
        (feature({"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [4, 4], [0, 0]]]}), "no area"),
        (feature({"type": "Polygon", "coordinates": []}), "no area"),
        (feature({"type": "GeometryCollection", "geometries": []}), "is a GeometryCollection"),
        (feature(None), "no geometry"),
        ({"type": "Feature"}, "no geometry"),
        (SQUARE, "no GeoJSON Feature"),
        (3, "no GeoJSON Feature"),
        (feature(measurements=[1]), "properties that QuPath does not write"),
        (feature(classification=3), "properties that QuPath does not write"),
        ({**feature(), "properties": [1]}, "properties that QuPath does not write"),
        (feature(classification={"name": "a", "color": [1]}), "properties that QuPath does not write"),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_number_of_its_feature(tmp_path, broken, reason):
    message = refusal(tmp_path, [feature(), broken])
    assert "feature 2" in message
    assert re.search(reason, message)


@pytest.mark.parametrize("content", ["", "{", "3", "{}", '{"type": "FeatureCollection"}', "\ufeff["])
def test_what_is_no_geojson_is_refused_in_one_sentence(tmp_path, content):
    assert "\n" not in refusal(tmp_path, content)


def test_a_truncated_archive_is_refused(tmp_path):
    write_qupath(tmp_path / "a.geojson.gz", OBJECTS)
    (tmp_path / "b.geojson.gz").write_bytes((tmp_path / "a.geojson.gz").read_bytes()[:-20])
    with pytest.raises(DataError, match="copy it again"):
        read_qupath(tmp_path / "b.geojson.gz")
    with pytest.raises(DataError, match="no such file"):
        read_qupath(tmp_path / "c.geojson")


def test_coordinates_are_rounded_to_hundredths_and_whole_ones_are_written_as_integers(tmp_path):
    write_qupath(tmp_path / "a.geojson", [QuPathObject(box(0, 0, 1 / 3, 1)), QuPathObject(box(0, 0, 3, 1))])
    text = (tmp_path / "a.geojson").read_text(encoding="utf-8")
    assert "0.33," in text
    assert "0.333" not in text
    assert "[3,1]" in text
    assert mapping(read_qupath(tmp_path / "a.geojson")[1].geometry) == mapping(box(0, 0, 3, 1))
