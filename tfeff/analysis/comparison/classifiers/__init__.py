"""Comparison of classifiers: choosing by numbers, the predictions matrix, label errors, explanations."""

from tfeff.analysis.comparison.classifiers.report import write

__all__ = ["write"]
