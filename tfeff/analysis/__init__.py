"""Analysis of data and models: why a network finds nothing, and which settings and classifiers are best."""

from tfeff.analysis import comparison, diagnosis, sweep

__all__ = ["comparison", "diagnosis", "sweep"]
