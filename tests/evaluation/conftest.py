from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tfeff.evaluation.detections import Detections


@dataclass
class Objects:
    boxes_yxyx: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray


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


def random_case(seed, images=4, classes=3, most=6, side=100.0, crowd=False):
    """Detections and objects of some images: jittered, repeated, stray, of wrong classes, tied; some images empty."""
    rng = np.random.default_rng(seed)
    found, there = [], []
    for _ in range(images):
        m = int(rng.integers(0, most))
        corners = rng.uniform(0, side, (m, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0.05 * side, 0.6 * side, (m, 2))], axis=1)
        labels = rng.integers(0, classes, m)
        there.append(objects(boxes, labels, rng.random(m) < 0.2, (rng.random(m) < 0.2) & crowd))
        n = int(rng.integers(0, 3 * most)) if m else int(rng.integers(0, 2))
        of = rng.integers(0, max(m, 1), n)
        said = boxes[of] + rng.normal(0, 0.04 * side, (n, 4)) if m else rng.uniform(0, side, (n, 4))
        stray = rng.random(n) < 0.2
        said[stray] = rng.uniform(0, side, (int(stray.sum()), 4))
        said[:, 2:] = np.maximum(said[:, 2:], said[:, :2] + 0.01 * side)
        named = labels[of] if m else np.zeros(n, int)
        named = np.where(rng.random(n) < 0.2, rng.integers(0, classes, n), named)
        found.append(detections(said, named, rng.integers(0, 8, n) / 8))
    return found, there


@pytest.fixture
def make_objects() -> Callable[..., Objects]:
    return objects


@pytest.fixture
def make_detections() -> Callable[..., Detections]:
    return detections


@pytest.fixture
def make_case() -> Callable[..., tuple[list[Detections], list[Objects]]]:
    return random_case
