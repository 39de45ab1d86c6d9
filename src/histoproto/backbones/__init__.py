"""Trained feature extractors behind one contract."""
