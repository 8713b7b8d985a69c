"""Families of backbones, each as one visible table."""
