"""QuPath's objects as GeoJSON (``File > Export objects as GeoJSON``), written and read.

QuPath's conventions on top of RFC 7946: coordinates are pixels of the slide's finest page with y downwards; a feature's
``id`` is a UUID; ``properties`` hold ``objectType``, ``classification`` (``name`` and ``color``), ``measurements``,
``metadata`` and, if the user typed one, the object's own ``name``. QuPath 0.4 and later open gzipped files as they are.
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID, uuid5

from histoproto.atomic import replacing
from histoproto.errors import DataError
from histoproto.formats.slide_packages import require
from histoproto.taxonomy import Colour

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

DECIMALS = 2
"""Of a coordinate in pixels, as QuPath writes them."""
WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
"""Geometries that are left out when a file is read."""
_NAMESPACE = UUID("6f1c6d3e-3b58-4a0e-9d5c-7f0f5c1a2b44")
_KINDS_BY_ID = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmaCore",
}
"""QuPath 0.2 wrote the kind of an object into its ``id``."""
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class QuPathObject:
    """One object of QuPath: a shape with a class."""

    geometry: "Polygon | MultiPolygon"
    """In pixels of the slide's finest page, x to the right, y downwards, (0, 0) the upper left corner of the slide."""
    name: str | None = None
    """Name of its class; a derived class reads ``Tumor: Positive``; None where it has none."""
    colour: Colour | None = None
    """RGB of its class, 0..255."""
    measurements: Mapping[str, float] = field(default_factory=dict)
    """Finite numbers by their names, which carry units."""
    kind: str = "annotation"
    """QuPath's object type: annotation, detection, cell, tile or tmaCore."""
    label: str | None = None
    """The object's own name, as somebody typed it in QuPath."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Texts by their names; QuPath keeps them when an object is edited and exported."""


def write_qupath(path: Path, objects: Iterable[QuPathObject]) -> None:
    """Write objects as a FeatureCollection, one feature a line, atomically and without holding them in memory.

    Equal objects give equal bytes and equal ids; an object that occurs twice gets two ids.

    Args:
        path: ends in ``.geojson`` or ``.geojson.gz``.
        objects: taken one by one; coordinates are rounded to ``DECIMALS``.

    Raises:
        ValueError: if the file's ending is another one, or a measurement is not a finite number.
        ConfigError: if shapely is not installed.
    """
    if not path.name.lower().endswith((".geojson", ".geojson.gz")):
        raise ValueError(f"{path}: objects of QuPath are written to .geojson or .geojson.gz")
    require("GeoJSON for QuPath", "shapely")
    seen: set[UUID] = set()
    with replacing(path) as temporary, _text_file(temporary) as file:
        file.write('{"type":"FeatureCollection","features":[')
        for number, entry in enumerate(objects):
            file.write(",\n" if number else "\n")
            file.write(_feature(entry, seen))
        file.write("\n]}\n")


@contextmanager
def _text_file(path: Path) -> Iterator[IO[str]]:
    """Yield a text file, gzipped by its suffix; the archive holds neither name nor time, so that bytes repeat."""
    import io

    if path.suffix.lower() != ".gz":
        with path.open("w", encoding="utf-8", newline="\n") as plain:
            yield plain
        return
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
    ):
        yield file


def _feature(entry: QuPathObject, seen: set[UUID]) -> str:
    properties: dict[str, Any] = {"objectType": entry.kind}
    if entry.label is not None:
        properties["name"] = entry.label
    if entry.name is not None:
        names = entry.name.split(": ")
        classification: dict[str, Any] = {"name": entry.name} if len(names) == 1 else {"names": names}
        if entry.colour is not None:
            classification["color"] = list(entry.colour)
        properties["classification"] = classification
    if entry.measurements:
        properties["measurements"] = dict(entry.measurements)
    if entry.metadata:
        properties["metadata"] = dict(entry.metadata)
    content = f'"geometry":{_json(_geometry_json(entry.geometry))},"properties":{_json(properties)}'
    identity = uuid5(_NAMESPACE, content)
    while identity in seen:
        identity = uuid5(identity, content)
    seen.add(identity)
    return f'{{"type":"Feature","id":"{identity}",{content}}}'


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _geometry_json(geometry: "Polygon | MultiPolygon") -> dict[str, Any]:
    if geometry.geom_type == "Polygon":
        return {"type": "Polygon", "coordinates": _rings(geometry)}
    return {"type": "MultiPolygon", "coordinates": [_rings(part) for part in geometry.geoms]}


def _rings(polygon: "Polygon") -> list[list[list[int | float]]]:
    import numpy as np
    import shapely

    rings = []
    for ring in (polygon.exterior, *polygon.interiors):
        points = np.round(shapely.get_coordinates(ring), DECIMALS)
        whole = (points == np.rint(points)).all()
        rings.append(points.astype(np.int64).tolist() if whole else points.tolist())
    return rings


def read_qupath(path: Path) -> list[QuPathObject]:
    """Read the objects of a GeoJSON file that QuPath exported: a FeatureCollection, a list of features, or one feature.

    Points and lines cover no area and are left out. Crossing rings are repaired by shapely's ``make_valid``.

    Args:
        path: plain or gzipped, whatever its name.

    Raises:
        DataError: if the file is no such GeoJSON, or a shape has no area; names the feature, counted from 1.
        ConfigError: if shapely is not installed.
    """
    require("GeoJSON of QuPath", "shapely")
    objects = []
    for number, feature in enumerate(_features(path), start=1):
        where = f"{path}: feature {number}"
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise DataError(f"{where} is no GeoJSON Feature; export the objects again from QuPath as GeoJSON")
        geometry = feature.get("geometry")
        if not isinstance(geometry, dict):
            raise DataError(f"{where} has no geometry; delete it, or export the objects again from QuPath")
        if geometry.get("type") not in WITHOUT_AREA:
            objects.append(_object(where, feature, geometry))
    return objects


def _features(path: Path) -> list[Any]:
    try:
        raw = path.read_bytes()
        content = json.loads(gzip.decompress(raw) if raw.startswith(_GZIP_MAGIC) else raw)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check its name") from None
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}); copy it again from its source") from None
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error}); export the objects again from QuPath as GeoJSON") from None
    if isinstance(content, list):
        return content
    if isinstance(content, dict) and content.get("type") == "Feature":
        return [content]
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise DataError(
            f"{path}: neither a FeatureCollection nor a Feature nor a list of features; "
            "export the objects again from QuPath as GeoJSON"
        )
    return features


def _object(where: str, feature: dict[str, Any], geometry: dict[str, Any]) -> QuPathObject:
    properties = feature.get("properties") or {}
    try:
        kind = properties.get("objectType") or properties.get("object_type") or _KINDS_BY_ID.get(feature.get("id", ""))
        label = properties.get("name")
        return QuPathObject(
            geometry=_areal(where, geometry),
            name=_class_name(properties.get("classification")),
            colour=_class_colour(properties.get("classification")),
            measurements=_measurements(properties.get("measurements") or {}),
            kind=str(kind or "annotation"),
            label=None if label is None else str(label),
            metadata={str(key): str(value) for key, value in (properties.get("metadata") or {}).items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} has properties that QuPath does not write ({type(error).__name__}: {error}); "
            "export the objects again from QuPath"
        ) from None


def _class_name(classification: Any) -> str | None:
    if isinstance(classification, str):
        return classification
    if not classification:
        return None
    names = classification.get("names")
    return ": ".join(map(str, names)) if names else classification.get("name")


def _class_colour(classification: Any) -> Colour | None:
    """Return the colour of a class; before QuPath 0.4 it was one signed integer, alpha in its highest byte."""
    if not isinstance(classification, dict):
        return None
    colour = classification.get("color", classification.get("colorRGB"))
    if colour is None:
        return None
    if isinstance(colour, int):
        return (colour >> 16) & 255, (colour >> 8) & 255, colour & 255
    red, green, blue = (int(channel) for channel in colour[:3])
    return red, green, blue


def _measurements(entries: Any) -> dict[str, float]:
    """Return measurements that are numbers; before QuPath 0.4 they were a list of names and values."""
    pairs = entries.items() if isinstance(entries, dict) else [(entry["name"], entry["value"]) for entry in entries]
    numbers = {str(name): float(value) for name, value in pairs if value is not None}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _areal(where: str, geometry: dict[str, Any]) -> "Polygon | MultiPolygon":
    import numpy as np
    import shapely
    from shapely.geometry import shape

    kind = geometry.get("type")
    if kind not in ("Polygon", "MultiPolygon"):
        raise DataError(f"{where} is a {kind}; only Polygon and MultiPolygon have an area, merge or split it in QuPath")
    try:
        drawn = shapely.force_2d(shape(geometry))
    except (shapely.errors.ShapelyError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"{where} has a broken {kind} ({error}); draw it again") from None
    if not np.isfinite(shapely.get_coordinates(drawn)).all():
        raise DataError(f"{where} has a coordinate that is no number; draw it again")
    valid = drawn if drawn.is_valid else shapely.make_valid(drawn, method="structure", keep_collapsed=False)
    parts = [part for part in shapely.get_parts(valid) if part.geom_type == "Polygon" and part.area > 0]
    if not parts:
        raise DataError(f"{where} has no area; delete it in QuPath or draw it again")
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
