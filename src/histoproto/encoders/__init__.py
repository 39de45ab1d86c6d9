"""Frozen foundation models behind one contract."""
