"""Detection in tiles."""

import numpy as np
import pytest

from tests.runs.bright_squares import SquaresPredictor, squares


@pytest.mark.parametrize(("tile", "overlap"), [((70, 70), 14), ((50, 200), 12), ((300, 400), 20)])
def test_tiles_find_the_objects_of_the_whole_image(tile: tuple[int, int], overlap: int) -> None:
    pixels = squares(230, 310)
    whole, tiled = (SquaresPredictor(*each).detect(pixels) for each in ((), (tile, overlap)))
    assert whole.keys() == tiled.keys()
    objects = [sorted(zip(row["boxes_yxyx"], row["classes"], strict=True)) for row in (whole, tiled)]
    assert len(objects[0]) > 50
    assert objects[0] == objects[1]


def test_an_image_without_objects_has_an_empty_row() -> None:
    row = SquaresPredictor((20, 20), 5).detect(np.zeros((50, 40, 3), np.uint8))
    assert row == {"labels": [], "classes": [], "scores": [], "boxes_yxyx": []}
