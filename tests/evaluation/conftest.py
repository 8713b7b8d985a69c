from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tfeff.evaluation.matching import Detections


@dataclass
class Objects:
    boxes_yxyx: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray | None = None


def objects(boxes=(), labels=(), difficult=None, crowd=None):
    n = len(labels)
    return Objects(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int32),
        np.zeros(n, bool) if difficult is None else np.array(difficult, bool),
        np.zeros(n, bool) if crowd is None else np.array(crowd, bool),
    )


def detections(boxes=(), labels=(), scores=()):
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int32), np.array(scores, np.float32)
    )


def random_case(seed, images=4, classes=3, max_objects=6, side=100.0, crowd=False):
    """Random images: jittered, duplicate and stray detections, wrong classes, tied scores; some images are empty."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(images):
        m = int(rng.integers(0, max_objects))
        corners = rng.uniform(0, side, (m, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0.05 * side, 0.6 * side, (m, 2))], axis=1)
        labels = rng.integers(0, classes, m)
        truth.append(objects(boxes, labels, rng.random(m) < 0.2, (rng.random(m) < 0.2) & crowd))
        n = int(rng.integers(0, 3 * max_objects)) if m else int(rng.integers(0, 2))
        target = rng.integers(0, max(m, 1), n)
        predicted = boxes[target] + rng.normal(0, 0.04 * side, (n, 4)) if m else rng.uniform(0, side, (n, 4))
        stray = rng.random(n) < 0.2
        predicted[stray] = rng.uniform(0, side, (int(stray.sum()), 4))
        predicted[:, 2:] = np.maximum(predicted[:, 2:], predicted[:, :2] + 0.01 * side)
        classified = labels[target] if m else np.zeros(n, int)
        classified = np.where(rng.random(n) < 0.2, rng.integers(0, classes, n), classified)
        found.append(detections(predicted, classified, rng.integers(0, 8, n) / 8))
    return found, truth


@pytest.fixture
def make_objects() -> Callable[..., Objects]:
    return objects


@pytest.fixture
def make_detections() -> Callable[..., Detections]:
    return detections


@pytest.fixture
def make_case() -> Callable[..., tuple[list[Detections], list[Objects]]]:
    return random_case
