"""Manifest, importers, checks and phantom."""
