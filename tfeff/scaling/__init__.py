"""The compound-scaling search: the best depth, width and resolution of a baseline for a dataset and a budget.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv:1905.11946), section 3:
depth α^φ, width β^φ, resolution γ^φ with α·β²·γ² ≈ 2. `candidates` enumerates the networks within the budget at φ = 1,
`study` checks the config and selects some of them, `search` trains and ranks these with `tfeff.trials`, `members`
compares the result with scaling a single dimension, `report` writes everything.
"""
