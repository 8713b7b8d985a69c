"""Weights of a network from those of another member of its family: narrower or wider, with fewer or more blocks."""
