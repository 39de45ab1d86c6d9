"""One verb per file; the function's signature is the command line."""
