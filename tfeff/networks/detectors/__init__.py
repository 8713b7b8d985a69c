"""Detectors: backbone, neck and heads as one description."""
