"""What the command line adds to a sweep's networks: weights that no hub has, and another encoder."""

from collections.abc import Sequence
from pathlib import Path

from histoproto.errors import ConfigError
from histoproto.sweeps.cells import GIVEN, Cell
from histoproto.sweeps.definition import Change


def read_weights(given: Sequence[str]) -> dict[str, str]:
    """Return the source of each network's weights from texts such as ``medclip=pytorch_model.bin``.

    Raises:
        ConfigError: if a text has another form, or names a file that is not there.
    """
    sources = {}
    for text in given:
        name, equals, source = text.partition("=")
        if not (name and equals and source):
            raise ConfigError(f"--weights {text}: write NAME=FILE, as in --weights medclip=pytorch_model.bin")
        if not source.startswith("hf:"):
            if not Path(source).exists():
                raise ConfigError(f"--weights {text}: {source} is not there; give a file, a folder or hf:org/name")
            source = str(Path(source).absolute())
        sources[name] = source
    return sources


def with_weights(cells: list[Cell], sources: dict[str, str], name: str) -> list[Cell]:
    """Return the cells with the given weights in place.

    Raises:
        ConfigError: if a network's weights are missing, or weights are given that no cell asks for.
    """
    used: set[str] = set()
    filled = [_filled(cell, sources, used) for cell in cells]
    missing = {network for cell in filled for network in _asked(cell)}
    if missing:
        options = " ".join(f"--weights {network}=FILE" for network in sorted(missing))
        way_out = ", or take another encoder, as in --encoder plip" if one_encoder(cells) in missing else ""
        raise ConfigError(
            f"{name} needs weights that no hub has: {options} (docs/encoders.md and docs/backbones.md say where they "
            f"are){way_out}"
        )
    for network in sources:
        if network not in used:
            raise ConfigError(f"--weights {network}: no cell of {name} has a network of this name")
    return filled


def with_one_encoder(cells: list[Cell], encoder: str, name: str) -> list[Cell]:
    """Return the cells with another encoder.

    Raises:
        ConfigError: if encoders are what the sweep compares, or it names none.
    """
    if one_encoder(cells) is None:
        named = sorted({own for cell in cells for own in cell.encoders})
        has = f"compares encoders ({', '.join(named)})" if named else "has no encoder that could be replaced"
        raise ConfigError(f"--encoder {encoder}: {name} {has}; leave --encoder out")
    encoder = f"run:{Path(encoder.removeprefix('run:')).absolute()}" if encoder.startswith("run:") else encoder
    return [cell.with_encoder(encoder) for cell in cells]


def one_encoder(cells: list[Cell]) -> str | None:
    """Return the encoder of all cells that name one; None if they name several, or none."""
    named = {own for cell in cells for own in cell.encoders}
    return named.pop() if len(named) == 1 else None


def _places(cell: Cell) -> list[tuple[tuple[str, ...], str, str | None]]:
    """Return where a cell names a network: the keys above its weights, its name, its weights."""
    places: list[tuple[tuple[str, ...], str, str | None]] = []
    for part in ("bank", "zeroshot"):
        named = getattr(cell, part)
        if named is not None:
            places.append(((part, "encoder_weights"), named["encoder"], named.get("encoder_weights")))
    if cell.zeroshot is not None:
        return places
    settings = cell.run_settings(cell.name)
    places.append((("settings", "encoder", "weights"), settings.encoder.name, settings.encoder.weights))
    places.append((("settings", "backbone", "weights"), settings.backbone.name, settings.backbone.weights))
    if settings.teacher is not None:
        places.append((("settings", "teacher", "weights"), settings.teacher.name, settings.teacher.weights))
    return places


def _filled(cell: Cell, sources: dict[str, str], used: set[str]) -> Cell:
    for keys, name, _ in _places(cell):
        if name in sources:
            used.add(name)
            change: Change = {}
            for key in reversed(keys):
                change = {key: change or sources[name]}
            cell = cell.changed(change)
    return cell


def _asked(cell: Cell) -> list[str]:
    return [name for _, name, weights in _places(cell) if weights == GIVEN]
