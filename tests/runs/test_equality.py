"""When two models predict the same."""

import numpy as np
import pytest

from tfeff.runs.equality import difference


def detections(boxes: list[list[float]], labels: list[int], scores: list[float]) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.array(labels, np.int32),
        "scores": np.array(scores, np.float32),
    }


FOUND = detections([[0, 0, 10, 10], [0, 0, 100, 50]], [0, 1], [0.9, 0.8])
NOTHING = detections([], [], [])


def test_the_order_of_detections_does_not_matter() -> None:
    assert difference([FOUND], [detections([[0, 0, 100, 50], [0, 0, 10, 10]], [1, 0], [0.8, 0.9])]) == 0


@pytest.mark.parametrize(
    ("boxes", "labels", "scores"),
    [
        ([[0, 0, 100, 51], [0, 0, 10, 10]], [1, 0], [0.8, 0.9]),
        ([[0, 0, 100, 50], [0, 0, 10, 10]], [1, 0], [0.7, 0.9]),
        ([[0, 0, 10, 10]], [0], [0.9]),
        ([], [], []),
        ([[0, 0, 10, 10], [0, 0, 100, 50]], [0, 0], [0.9, 0.8]),
        ([[0, 0, 10, 10], [0, 0, 100, np.nan]], [0, 1], [0.9, 0.8]),
    ],
)
def test_other_detections_differ(boxes: list[list[float]], labels: list[int], scores: list[float]) -> None:
    other = detections(boxes, labels, scores)
    assert difference([FOUND], [other]) == difference([other], [FOUND]) == np.inf


def test_small_differences_are_relative_to_the_largest_coordinate_and_the_best_score() -> None:
    moved = FOUND | {"boxes": FOUND["boxes"] + np.float32(0.05)}
    assert difference([FOUND], [moved]) == pytest.approx(0.0005, rel=1e-3)
    scored = FOUND | {"scores": FOUND["scores"] - np.float32(0.0009)}
    assert difference([FOUND], [scored]) == pytest.approx(0.001, rel=1e-3)


def test_few_faint_detections_may_differ() -> None:
    boxes = np.random.default_rng(0).uniform(0, 100, (100, 4)).astype(np.float32)
    labels, scores = np.zeros(100, np.int32), np.linspace(0.9, 0.001, 100, dtype=np.float32)
    one = {"boxes": boxes, "labels": labels, "scores": scores}
    assert difference([one], [{name: values[:99] for name, values in one.items()}]) == 0
    assert difference([one], [{name: values[:97] for name, values in one.items()}]) == np.inf
    assert difference([one], [{name: values[1:] for name, values in one.items()}]) > 0.01  # the best one


def test_where_nothing_is_found_nothing_is_known() -> None:
    assert difference([NOTHING, NOTHING], [NOTHING, NOTHING]) is None
    assert difference([NOTHING, FOUND], [NOTHING, FOUND]) == 0
    assert difference([NOTHING], [FOUND]) == np.inf


def test_numbers_are_compared_relative_to_the_largest_of_their_output() -> None:
    one = {
        "probabilities": np.array([[0.2, 0.8]]),
        "box": np.array([[0.0, 0.0, 200.0, 100.0]]),
        "names": np.array(["a"]),
    }
    assert difference([one], [one | {"names": np.array(["b"])}]) == 0
    assert difference([one], [one | {"probabilities": np.array([[0.28, 0.72]])}]) == pytest.approx(0.1)
    assert difference([one], [one | {"box": one["box"] + 20}]) == pytest.approx(0.1)
    for name in ("probabilities", "box"):
        assert difference([one], [one | {name: one[name] * np.nan}]) == np.inf
        assert difference([one | {name: one[name] + np.inf}], [one]) == np.inf
    assert difference([one, one], [one, one | {"box": one["box"] + 20}]) == pytest.approx(0.1)


def test_flat_probabilities_are_not_equal_to_others() -> None:
    rng = np.random.default_rng(0)
    flat = {"probabilities": np.full((4, 1000), 0.001)}
    assert difference([flat], [{"probabilities": flat["probabilities"] * rng.uniform(0, 1, (4, 1000))}]) > 0.9
