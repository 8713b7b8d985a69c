"""tfeff: the best scaled convolutional network for a labelled image set and a compute budget."""

__version__ = "0.1.0"
