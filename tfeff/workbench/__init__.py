"""Understands and compares finished runs: choosing by numbers, the predictions matrix, label errors, explanations."""
