"""Figures that are saved without being drawn: drawing takes longer than training and evaluating a tiny network.

Tests of figures draw them, and so do those of verbs with `figures=True`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import pytest
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


@contextmanager
def undrawn() -> Iterator[None]:
    """Draws no figures in this process."""
    from tfeff.reporting import figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save_undrawn)
        patch.setattr(figure, "rgb", lambda drawn: np.zeros((1, 1, 3), np.uint8))
        yield
