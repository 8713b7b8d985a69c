"""Weights of a network from those of another member of its family: narrower or wider, with fewer or more blocks.

Networks are graphs of operations (`models.graph`): backbones, and detectors with necks and heads. Layers may be applied
several times.
"""
