"""The one place where names become objects."""
