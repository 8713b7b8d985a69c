"""Trains a network with many combinations of settings, ranks them with intervals, and shows what each setting does.

`combinations` samples them, `study` prepares and runs them as trials, `result` has the rows of tables and figures,
`report` the files.
"""
