from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


@pytest.fixture
def assert_legible(monkeypatch: pytest.MonkeyPatch) -> Callable[[Figure], None]:
    """Draws a figure and checks that all texts are inside it and do not overlap."""

    def check(figure: Figure) -> None:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # computes the layout
        texts = []
        draw = Text.draw
        with monkeypatch.context() as patch:
            # Axes keep texts that they do not draw, such as ticks outside their limits.
            patch.setattr(Text, "draw", lambda text, *args, **kwargs: (texts.append(text), draw(text, *args, **kwargs)))
            canvas.draw()
        texts = [text for text in texts if text.get_visible() and text.get_text().strip()]
        extents = [text.get_window_extent(canvas.get_renderer()).extents for text in texts]
        left, bottom, right, top = np.reshape(extents, (-1, 4)).T
        outside = (left < -1) | (bottom < -1) | (right > figure.bbox.width + 1) | (top > figure.bbox.height + 1)
        assert not outside.any(), [texts[i].get_text() for i in np.flatnonzero(outside)]

        # One pixel of tolerance, because extents contain the full line height.
        across = np.minimum.outer(right, right) - np.maximum.outer(left, left) > 1
        down = np.minimum.outer(top, top) - np.maximum.outer(bottom, bottom) > 1
        pairs = np.argwhere(np.triu(across & down, 1))
        assert not len(pairs), [(texts[i].get_text(), texts[j].get_text()) for i, j in pairs[:5]]

    return check
