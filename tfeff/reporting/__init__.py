"""Figures and tables of plain arrays and dicts, for use by all other folders."""
