"""Sentences that describe each class, for text encoders: one YAML file per data set, and their reader."""
