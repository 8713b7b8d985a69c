"""Data augmentation, with and without boxes."""
