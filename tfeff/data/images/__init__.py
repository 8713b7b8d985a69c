"""Decoding, resizing and caching of images."""
