"""Searches whose trials run in the process of the verb, because each other process would first import TensorFlow."""

IN_ONE_PROCESS = """
from tfeff.budget import exported  # times networks, with other numbers of threads, in processes of its own
from tfeff.execution import executor, local

local.LocalProcesses = lambda processes, log: executor.Threads(1)
"""
"""Lines for the config of a search. Sweeps are tested with processes of their own, and so are all thorough tests."""
