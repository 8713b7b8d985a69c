"""Copies of a run in the trackers that a team uses: MLflow and Weights & Biases."""
