"""How good masks are: counts, uncertainty, comparison."""
