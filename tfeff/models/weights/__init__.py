"""Loading of weights."""
