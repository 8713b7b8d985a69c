"""Comparison of the detections that two runtimes computed with one network."""

import numpy as np


def assert_same_detections(
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    expected: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    box_atol: float,
    score_atol: float = 1e-4,
) -> None:
    """Both are (boxes, labels, scores), best first. Detections whose scores are equal up to rounding may change places.

    At the lowest score, where the list is cut off, one of them may also replace another.
    """
    boxes, labels, scores = (np.asarray(part) for part in found)
    np.testing.assert_allclose(scores, expected[2], rtol=0, atol=score_atol)
    left = list(range(len(scores)))
    for box, label, score in zip(*expected, strict=True):
        equal = [
            index
            for index in left
            if labels[index] == label
            and abs(scores[index] - score) <= 2 * score_atol
            and np.abs(boxes[index] - box).max() <= box_atol
        ]
        if equal:
            left.remove(equal[0])
        else:
            assert score <= scores[-1] + score_atol, f"no detection of class {label} with score {score:.5f} at {box}"
