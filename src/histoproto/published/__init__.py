"""Figures that papers, repositories and abstracts report, as data: one figure per row of ``published.csv``."""
