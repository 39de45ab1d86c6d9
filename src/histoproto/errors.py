"""Errors that a user can act on. Each message says what is wrong, where, and what to do.

The command line prints them as one line and exits with code 2; any other exception is a bug.
"""


class HistoprotoError(Exception):
    """Something in the input, the settings or the machine that the user can mend."""


class DataError(HistoprotoError):
    """An image, mask, table or folder is not what was expected."""


class LabelError(DataError):
    """An image-level label is missing or does not fit the taxonomy."""


class ConfigError(HistoprotoError):
    """A name or value among the settings is not known or not allowed."""


class WeightsError(HistoprotoError):
    """Weights are missing, gated, truncated or do not fit the network."""


class RunError(HistoprotoError):
    """A run folder is absent, in use, finished, incomplete or of another taxonomy."""


class TrainingError(HistoprotoError):
    """Training cannot go on, for example because the loss is not a number."""
