"""The packages of the extra ``wsi``, asked for before work starts."""

from importlib.util import find_spec

from histoproto.errors import ConfigError


def require(output: str, *packages: str) -> None:
    """Check that the packages that an output needs are installed.

    Raises:
        ConfigError: if some are not.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{output} needs {', '.join(missing)}; install with: pip install 'histoproto[wsi]'")
