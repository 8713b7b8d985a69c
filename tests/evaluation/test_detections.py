import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.evaluation.detections import Detections, check


def test_arrays_of_different_detections_are_refused():
    with pytest.raises(UserError, match=r"\(2, 4\), labels \(1,\)"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.int32), np.zeros(2, np.float32))


def test_detections_are_taken_by_index_and_by_mask(make_detections):
    three = make_detections([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], [0, 1, 2], [0.1, 0.2, 0.3])
    assert three.take(np.array([2, 0])).labels.tolist() == [2, 0]
    assert three.take(three.scores > 0.15).boxes_yxyx[:, 3].tolist() == [2, 3]
    assert len(Detections.none()) == 0


@pytest.mark.parametrize(
    ("found", "there", "words"),
    [
        ([([0, 0, 1, 1], 2, 0.5)], [], "image 0: detections of class 2; 0 to 1 would be right"),
        ([([0, 0, 1, 1], -1, 0.5)], [], "class -1"),
        ([], [([0, 0, 1, 1], 5)], "objects of class 5"),
        ([([0, 0, 1, np.nan], 0, 0.5)], [], "not finite"),
        ([([0, 0, 1, 1], 0, np.inf)], [], "not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(found, there, words, make_detections, make_objects):
    with pytest.raises(UserError, match=words):
        check([make_detections(*zip(*found, strict=True))], [make_objects(*zip(*there, strict=True))], 2)


def test_every_image_needs_both_sides(make_objects):
    with pytest.raises(UserError, match="0 images and objects of 1"):
        check([], [make_objects()], 2)
