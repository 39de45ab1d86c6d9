"""Prototype vectors, their projection and their similarity to pixels."""
