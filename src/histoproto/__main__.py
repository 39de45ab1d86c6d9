"""``python -m histoproto``."""

from histoproto.cli import main

main()
