"""Sweeps: a network is trained with many combinations of settings, which are ranked, and each setting's effect shown.

`combinations` samples them, `study` prepares and runs them as trials, `report` has the rows of tables and figures, and
the files.
"""
