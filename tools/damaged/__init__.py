"""Damaged files of each annotation format, for `fuzz_annotations.py`."""
