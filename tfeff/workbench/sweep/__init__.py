"""Trains a network with many combinations of settings, ranks them with intervals, and shows what each setting does.

`combinations` samples them, `study` prepares and runs them as trials, `findings` has the numbers, `report` the files.
"""
