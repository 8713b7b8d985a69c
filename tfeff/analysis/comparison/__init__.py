"""Comparison of finished runs of classifiers, or of detectors, on the same images."""

from tfeff.analysis.comparison.report import write

__all__ = ["write"]
