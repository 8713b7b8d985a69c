"""Analysis of data and models: why a network finds nothing, and which of several models is best."""

from tfeff.analysis import comparison, diagnosis

__all__ = ["comparison", "diagnosis"]
