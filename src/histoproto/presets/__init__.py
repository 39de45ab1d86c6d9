"""The settings of papers and released code as typed constants, one file per method.

``paper`` is what the paper says, ``released`` what the authors' code does, defects included, and
``corrected`` (the default) repairs every known defect. ``docs/presets.md`` shows them side by side.
"""
