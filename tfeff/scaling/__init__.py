"""Compound scaling: which depth, width and resolution suit a baseline, some data and a budget.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv:1905.11946), section 3:
depth α^φ, width β^φ, resolution γ^φ with α·β²·γ² ≈ 2. `candidates` lists the networks that a budget allows at φ = 1,
`search` trains and compares them (`trial`, `allocation`, `statistics`; `local` and `cluster` run the trainings, `store`
keeps their results), `sweeps` shows what the coefficients are worth, `report` tells all of it.
"""
