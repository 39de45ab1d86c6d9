"""From class maps to masks; pure tensor functions."""
