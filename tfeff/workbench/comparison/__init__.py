"""Compares finished runs: choosing by numbers, the predictions matrix, label errors, explanations."""

from tfeff.workbench.comparison.report import write

__all__ = ["write"]
