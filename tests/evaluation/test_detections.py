import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.evaluation.detections import Detections, validate


def test_arrays_of_different_lengths_are_rejected():
    with pytest.raises(UserError, match=r"not \(2, 4\), \(1,\) and \(2,\)"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.int32), np.zeros(2, np.float32))


def test_detections_are_selected_by_indices_and_by_a_mask(make_detections):
    three = make_detections([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], [0, 1, 2], [0.1, 0.2, 0.3])
    assert three.take(np.array([2, 0])).labels.tolist() == [2, 0]
    assert three.take(three.scores > 0.15).boxes_yxyx[:, 3].tolist() == [2, 3]
    assert len(Detections.none()) == 0


@pytest.mark.parametrize(
    ("found", "truth", "message"),
    [
        ([([0, 0, 1, 1], 2, 0.5)], [], r"image 0: a detection has class 2; classes must be in \[0, 2\)"),
        ([([0, 0, 1, 1], -1, 0.5)], [], "a detection has class -1"),
        ([], [([0, 0, 1, 1], 5)], "an object has class 5"),
        ([([0, 0, 1, np.nan], 0, 0.5)], [], "NaN or infinite"),
        ([([0, 0, 1, 1], 0, np.inf)], [], "NaN or infinite"),
    ],
)
def test_invalid_input_is_rejected(found, truth, message, make_detections, make_objects):
    with pytest.raises(UserError, match=message):
        validate([make_detections(*zip(*found, strict=True))], [make_objects(*zip(*truth, strict=True))], 2)


def test_different_numbers_of_images_are_rejected(make_objects):
    with pytest.raises(UserError, match="0 images but ground truth for 1"):
        validate([], [make_objects()], 2)
