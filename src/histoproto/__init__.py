"""histoproto: pixel-accurate tissue maps of H&E histology from image-level tissue labels."""

from importlib.metadata import version

__version__ = version("histoproto")
