"""Comparison of detectors: average precision with paired intervals, errors, cost, and the images where they differ."""

from tfeff.analysis.comparison.detectors.report import write

__all__ = ["write"]
