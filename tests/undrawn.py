"""Figures that are saved without being drawn: drawing takes longer than training and evaluating a tiny network.

Tests of figures draw them, and so do those of verbs with `figures=True`.
"""

import os
from typing import IO, Any

from matplotlib.figure import Figure
from PIL import Image

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="72pt"/>\n'


def save_undrawn(
    figure: Figure, file: str | os.PathLike[str] | IO[bytes], *, format: str | None = None, **options: Any
) -> None:
    """Writes an empty picture, in place of `Figure.savefig`."""
    if format != "svg":
        Image.new("RGB", (1, 1)).save(file, "PNG")
    elif isinstance(file, str | os.PathLike):
        raise ValueError("an SVG is written to an open file")
    else:
        file.write(SVG)
