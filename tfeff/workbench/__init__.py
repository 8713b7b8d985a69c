"""Tools to understand data and models: why a detector finds nothing."""
