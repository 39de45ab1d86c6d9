"""One self-contained HTML page per run, for people."""
