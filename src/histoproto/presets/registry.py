"""Methods by name, ours and those that other packages bring. A new one: its line here, its settings beside it.

Another package announces a method in its ``pyproject.toml``::

    [project.entry-points."histoproto.methods"]
    mine = "mypackage.mine:ENTRY"        # a MethodEntry
"""

from difflib import get_close_matches
from importlib.metadata import entry_points

from histoproto.errors import ConfigError
from histoproto.presets import cam, construct, gradcam, lpd, pbip
from histoproto.presets.settings import MethodEntry, RunSettings

METHODS: dict[str, MethodEntry] = {
    "cam": cam.ENTRY,
    "construct": construct.ENTRY,
    "gradcam": gradcam.ENTRY,
    "lpd": lpd.ENTRY,
    "pbip": pbip.ENTRY,
}
PLUGINS = "histoproto.methods"
"""Entry-point group of other packages' methods."""


def method_entry(name: str) -> MethodEntry:
    """Return a method by name.

    Raises:
        ConfigError: if neither we nor an installed package has it.
    """
    if name in METHODS:
        return METHODS[name]
    plugins = {plugin.name: plugin for plugin in entry_points(group=PLUGINS)}
    _check_known("method", name, [*METHODS, *plugins])
    entry = plugins[name].load()
    if not isinstance(entry, MethodEntry):
        raise ConfigError(f"the method {name!r} of {plugins[name].value} is no MethodEntry; mend that package")
    return entry


def preset_settings(method: str, preset: str) -> RunSettings:
    """Return a method's settings under a preset.

    Raises:
        ConfigError: if there is no such method or preset.
    """
    presets = method_entry(method).presets
    _check_known("preset", preset, list(presets))
    return presets[preset]


def _check_known(kind: str, name: str, known: list[str]) -> None:
    if name in known:
        return
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(f"unknown {kind} {name!r}; {hint}there is {', '.join(known)}")
