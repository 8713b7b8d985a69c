"""Understands data and models: why a network finds nothing, and which of several classifiers is the best."""

from tfeff.workbench import comparison, diagnosis

__all__ = ["comparison", "diagnosis"]
