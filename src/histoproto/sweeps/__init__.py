"""A grid of settings times seeds in one folder: reading it, planning it, and the table at its end.

Each cell is an ordinary run folder. ``histoproto.commands.sweep`` does the work that is planned here.
"""
