import numpy as np
import pytest
import tensorflow as tf

from tfeff import config
from tfeff.boxes import iou
from tfeff.tasks.suppression import peaks, strongest, suppress


def random_predictions(images: int = 3, count: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (images, count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (images, count, 2))], axis=-1)
    return boxes.astype(np.float32), rng.uniform(0, 1, (images, count, classes)).astype(np.float32)


def hard_suppression(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, overlap: float) -> list[int]:
    """Non-maximum suppression by its definition: indices of the kept boxes."""
    overlaps, kept = iou(boxes, boxes), list[int]()
    for index in np.argsort(-scores).tolist():
        if all(overlaps[index, other] <= overlap or labels[index] != labels[other] for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.9])
def test_hard_suppression_by_its_definition(overlap: float) -> None:
    boxes, scores = random_predictions()
    section = config.Suppression(overlap=overlap, minimum_score=0.2, detections=500, candidates=10_000)
    found = suppress(boxes, scores, section)
    for image in range(len(boxes)):
        count = int(found["count"][image])
        index, label = np.nonzero(scores[image] > 0.2)
        kept = hard_suppression(boxes[image][index], scores[image][index, label], label, overlap)
        assert count == len(kept)
        np.testing.assert_allclose(found["boxes"][image][:count], boxes[image][index[kept]], atol=1e-4)
        np.testing.assert_array_equal(found["labels"][image][:count], label[kept])
        np.testing.assert_array_equal(found["scores"][image][:count], scores[image][index[kept], label[kept]])
        assert not np.any(found["boxes"][image][count:])
        assert not np.any(found["scores"][image][count:])


def test_class_agnostic_suppression_keeps_the_best_class_of_each_box() -> None:
    boxes, scores = random_predictions(images=1)
    section = config.Suppression(class_agnostic=True, minimum_score=0.0)
    found = suppress(boxes, scores, section)
    kept = hard_suppression(boxes[0], scores[0].max(axis=-1), np.zeros(len(boxes[0])), 0.5)
    count = int(found["count"][0])
    np.testing.assert_array_equal(found["boxes"][0][:count], boxes[0][kept])
    np.testing.assert_array_equal(found["labels"][0][:count], scores[0][kept].argmax(axis=-1))


def soft_suppression(boxes: np.ndarray, scores: np.ndarray, sigma: float, minimum: float) -> list[tuple[int, float]]:
    """Soft-NMS by its definition, in double precision: indices of boxes and their new scores."""
    remaining, score, kept = list(range(len(boxes))), scores.astype(float), []
    overlaps = iou(boxes.astype(float), boxes.astype(float))
    while remaining:
        best = max(remaining, key=lambda index: score[index])
        if score[best] <= minimum:
            break
        remaining.remove(best)
        kept.append((best, score[best]))
        for index in remaining:
            score[index] *= np.exp(-(overlaps[best, index] ** 2) / sigma)
    return kept


def test_gaussian_suppression_by_its_definition() -> None:
    boxes, scores = random_predictions(images=1, classes=1)
    section = config.Suppression(kind="gaussian", sigma=0.3, minimum_score=0.05, detections=200)
    found = suppress(boxes, scores, section)
    expected = soft_suppression(boxes[0], scores[0, :, 0], 0.3, 0.05)
    assert int(found["count"][0]) == len(expected)
    np.testing.assert_allclose(found["scores"][0][: len(expected)], [value for _, value in expected], rtol=1e-4)
    np.testing.assert_allclose(
        found["boxes"][0][: len(expected)], boxes[0][[index for index, _ in expected]], atol=1e-4
    )


def test_classes_are_suppressed_on_their_own_without_loss_of_precision() -> None:
    boxes, scores = random_predictions(images=1, classes=90)
    boxes[0, 0] = [-4000, -3000, 5000, 4500]  # as an untrained network predicts
    section = config.Suppression(kind="gaussian", minimum_score=0.5, detections=6000, candidates=6000)
    found = {name: values[0].numpy() for name, values in suppress(boxes, scores, section).items()}
    for label in range(90):
        mine = np.flatnonzero((found["labels"] == label) & (found["scores"] > 0))
        expected = soft_suppression(boxes[0], scores[0, :, label], 0.5, 0.5)
        np.testing.assert_array_equal(found["boxes"][mine], boxes[0][[index for index, _ in expected]])
        np.testing.assert_allclose(found["scores"][mine], [value for _, value in expected], rtol=1e-3)


def test_all_objects_of_a_crowd_are_found() -> None:
    rng = np.random.default_rng(0)
    corners = 40.0 * np.stack(np.meshgrid(np.arange(20), np.arange(15)), axis=-1).reshape(-1, 1, 2)
    corners = corners + rng.uniform(0, 2, (300, 30, 2))  # 30 boxes on each of 300 objects
    boxes = np.concatenate([corners, corners + 30], axis=-1).reshape(1, -1, 4).astype(np.float32)
    scores = np.repeat(rng.uniform(0.1, 0.9, (1, 300, 1)), 30, axis=1).astype(np.float32)
    assert suppress(boxes, scores, config.Suppression(detections=450))["count"].numpy().tolist() == [300]
    few = suppress(boxes, scores, config.Suppression(detections=450, candidates=1000))
    assert few["count"].numpy().tolist() == [34]
    assert [config.Suppression(detections=each).entering for each in (1, 100, 101)] == [1_000, 1_000, 2_020]


def test_limits_on_candidates_and_detections() -> None:
    boxes, scores = random_predictions()
    few = suppress(boxes, scores, config.Suppression(detections=5, minimum_score=0.0))
    assert few["boxes"].shape == (3, 5, 4)
    assert few["count"].numpy().tolist() == [5, 5, 5]
    best = suppress(boxes, scores, config.Suppression(candidates=1))
    assert best["count"].numpy().tolist() == [1, 1, 1]
    np.testing.assert_array_equal(best["scores"][:, 0], scores.max(axis=(1, 2)))


def test_nothing_above_the_threshold_gives_padding() -> None:
    boxes, scores = random_predictions()
    none = suppress(boxes, scores * 0.1, config.Suppression(minimum_score=0.5))
    assert none["count"].numpy().tolist() == [0, 0, 0]
    assert not np.any(none["boxes"])
    assert not np.any(none["scores"])
    assert not np.any(none["labels"])
    empty = suppress(tf.zeros((0, 60, 4)), tf.zeros((0, 60, 4)), config.Suppression())
    assert empty["boxes"].shape == (0, 100, 4)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("detections", [10, 100, 300])
def test_the_strongest_pairs_of_box_and_class(images: int, detections: int) -> None:
    boxes, scores = random_predictions(images=images)  # 240 pairs
    section = config.Suppression(minimum_score=0.3, detections=detections)
    found = {name: values.numpy() for name, values in strongest(boxes, scores, section).items()}
    assert found["boxes"].shape == (images, detections, 4)
    for image in range(images):
        pairs = sorted(((score, n, c) for (n, c), score in np.ndenumerate(scores[image]) if score > 0.3), reverse=True)
        pairs = pairs[:detections]
        assert found["count"][image] == len(pairs)
        for rank, (score, n, c) in enumerate(pairs):
            assert found["scores"][image, rank] == score
            assert found["labels"][image, rank] == c
            np.testing.assert_array_equal(found["boxes"][image, rank], boxes[image, n])
        for name in ("boxes", "scores", "labels"):
            assert not found[name][image, len(pairs) :].any()
    specs = {name: (values.shape[1:], values.dtype) for name, values in suppress(boxes, scores, section).items()}
    assert specs == {name: (values.shape[1:], tf.as_dtype(values.dtype)) for name, values in found.items()}


def test_no_images_have_no_strongest_pairs() -> None:
    found = strongest(tf.zeros((0, 60, 4)), tf.zeros((0, 60, 4)), config.Suppression())
    assert {name: tuple(values.shape) for name, values in found.items()} == {
        "boxes": (0, 100, 4), "scores": (0, 100), "labels": (0, 100), "count": (0,)
    }  # fmt: skip


@pytest.mark.parametrize("values", [2, 5, 10**6])
def test_peaks_are_the_highest_among_their_neighbors_in_a_level(values: int) -> None:
    """Of equal ones, the first: few values have ties."""
    grids = [(5, 7), (3, 4), (1, 3), (3, 1), (1, 1)]
    scores = np.random.default_rng(0).integers(0, values, (2, 35 + 12 + 3 + 3 + 1, 3)).astype(np.float32)
    found, start = peaks(tf.constant(scores), grids).numpy(), 0
    for rows, columns in grids:
        level = scores[:, start : start + rows * columns].reshape(2, rows, columns, 3)
        for (image, row, column, label), score in np.ndenumerate(level):
            top, left = max(row - 1, 0), max(column - 1, 0)
            around = level[image, top : row + 2, left : column + 2, label]
            earlier = [*level[image, top:row, left : column + 2, label].flat, *level[image, row, left:column, label]]
            expected = score == around.max() and score > max(earlier, default=-1)
            assert found[image, start + row * columns + column, label] == expected
        start += rows * columns
    assert 3 * 2 <= found.sum() < found.size / 4
