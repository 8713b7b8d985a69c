import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.test_suppression import hard_suppression
from tfeff.boxes import Anchors, clip, decode
from tfeff.tasks.region_proposals import propose

SIZE = (64, 96)


@pytest.mark.parametrize(("per_level", "total"), [(40, 30), (1000, 200), (10, 500)])
def test_proposals_equal_loops_over_levels(per_level: int, total: int) -> None:
    rng = np.random.default_rng(0)
    parts = [Anchors(levels=(level,), size=8, scales=(1,), corner=True).boxes(SIZE) for level in (2, 3, 4)]
    anchors = np.concatenate(parts)
    scores = rng.normal(size=(2, len(anchors))).astype(np.float32)
    codes = rng.normal(0, 0.4, (2, len(anchors), 4)).astype(np.float32)
    codes[:, ::7, 2:] = -12.0  # too small
    options = {"per_level": per_level, "total": total, "overlap": 0.7}
    boxes, valid = propose(
        tf.constant(scores), tf.constant(codes), tf.constant(anchors), list(map(len, parts)), SIZE, **options
    )
    assert boxes.shape == (2, total, 4)
    for image in range(2):
        found, found_scores = [], []
        first = 0
        for part in parts:
            level = slice(first, first + len(part))
            first += len(part)
            best = np.argsort(-scores[image, level], kind="stable")[:per_level]
            decoded = clip(decode(codes[image, level][best], part[best]), SIZE)
            wide = (decoded[:, 2:] - decoded[:, :2] >= 1e-3).all(axis=1)
            assert 0 < wide.sum() < len(wide)
            decoded, value = decoded[wide], scores[image, level][best][wide]
            kept = hard_suppression(decoded, value, np.zeros(len(value)), 0.7)
            found.append(decoded[kept])
            found_scores.append(value[kept])
        order = np.argsort(-np.concatenate(found_scores), kind="stable")[:total]
        np.testing.assert_array_equal(valid[image].numpy(), np.arange(total) < len(order))
        np.testing.assert_allclose(boxes[image][: len(order)], np.concatenate(found)[order], atol=1e-4)
        assert not boxes[image][len(order) :].numpy().any()
    single, _ = propose(
        tf.constant(scores[:1]), tf.constant(codes[:1]), tf.constant(anchors), list(map(len, parts)), SIZE, **options
    )
    np.testing.assert_allclose(single[0], boxes[0], atol=1e-4)
