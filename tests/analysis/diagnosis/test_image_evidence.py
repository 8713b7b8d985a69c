"""Whether boxes fit their images."""

import numpy as np
import pytest

from tfeff.analysis.diagnosis.image_evidence import Evidence, prefer


def test_a_box_around_an_object_fits_better_than_any_shifted_one() -> None:
    image = np.full((100, 140, 3), 90, np.uint8)
    image[30:70, 40:100] = (200, 40, 40)
    evidence, size = Evidence(image), np.array([100, 140, 100, 140], float)
    right = evidence.fit(np.array([30, 40, 70, 100]) / size)[0]
    for move in ((0, 15), (15, 0), (-20, -20), (25, 30)):
        assert evidence.fit((np.array([30, 40, 70, 100]) + np.tile(move, 2)) / size)[0] < right


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.5, 0.5, 0.5, 0.9), (np.nan, 0, 0.5, 0.5)])
def test_boxes_without_frame_or_area_say_nothing(box: tuple[float, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    assert np.isnan(Evidence(image).fit(np.array(box))).all()


def test_preference_counts_comparable_boxes() -> None:
    nan = (float("nan"), float("nan"))
    found = prefer([(2, 2), (3, 1), (0, 0), nan, (1, 1)], [(1, 1), (1, 1), (1, 1), (0, 0), (1, 1)])
    assert (found.wins, found.count) == (pytest.approx(2 / 3), 3)
    assert prefer([nan], [nan]).z == 0
