"""Backbones: each family is one table of architectures."""
