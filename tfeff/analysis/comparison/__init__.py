"""Compares finished runs: choosing by numbers, the predictions matrix, label errors, explanations."""

from tfeff.analysis.comparison.report import write

__all__ = ["write"]
