import numpy as np
import pytest
import tensorflow as tf

from tfeff.tasks.task_aligned import align


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("candidates", [1, 5])
def test_equals_the_definition(candidates: int, ties: bool) -> None:
    rng = np.random.default_rng(0)
    scores, overlaps = rng.random((4, 50, 6)), rng.random((4, 50, 6))
    if ties:
        scores, overlaps = np.ceil(2 * scores) / 2, np.ceil(2 * overlaps) / 2
    inside = rng.random((4, 50, 6)) < 0.4
    inside[..., 5] = False  # padding
    overlaps[:, :20] *= rng.random((4, 20, 6)) < 0.5
    aligned = align(tf.constant(scores), tf.constant(overlaps), inside, alpha=1.0, beta=6.0, candidates=candidates)
    for image in range(4):
        metric = np.where(inside[image], scores[image] * overlaps[image] ** 6, 0)
        wants = np.zeros((50, 6), bool)
        for k in range(6):
            for cell in np.argsort(-metric[:, k], kind="stable")[:candidates]:
                wants[cell, k] = metric[cell, k] > 0
        owner = [max(np.flatnonzero(row), key=lambda k, i=i: overlaps[image, i, k]) if row.any() else -1
                 for i, row in enumerate(wants)]  # fmt: skip
        np.testing.assert_array_equal(aligned.positive[image], wants.any(axis=1))
        for cell, k in enumerate(owner):
            if k < 0:
                assert aligned.target[image, cell] == 0
                continue
            mine = [other for other in range(50) if owner[other] == k]
            scale = max(overlaps[image, other, k] for other in mine) / max(metric[other, k] for other in mine)
            assert aligned.object[image, cell] == k
            np.testing.assert_allclose(aligned.target[image, cell], metric[cell, k] * scale, rtol=1e-12)


def test_the_best_cell_of_an_object_has_the_best_overlap_as_its_target() -> None:
    rng = np.random.default_rng(1)
    scores, overlaps = rng.random((1, 30, 2)), rng.random((1, 30, 2))
    inside = np.zeros((1, 30, 2), bool)
    inside[0, :15, 0] = inside[0, 15:, 1] = True
    aligned = align(tf.constant(scores), tf.constant(overlaps), inside, alpha=1.0, beta=6.0, candidates=13)
    for k, cells in enumerate((slice(0, 15), slice(15, 30))):
        best = np.argsort(-(scores * overlaps**6)[0, cells, k])[:13]
        np.testing.assert_allclose(aligned.target[0, cells].numpy().max(), overlaps[0, cells, k][best].max())


def test_more_candidates_than_cells_and_no_objects() -> None:
    ones = tf.ones((1, 3, 2))
    everything = align(ones, ones, tf.ones((1, 3, 2), tf.bool), alpha=1.0, beta=6.0, candidates=13)
    assert everything.positive.numpy().all()
    assert (everything.target.numpy() == 1).all()
    nothing = align(ones, ones, tf.zeros((1, 3, 2), tf.bool), alpha=1.0, beta=6.0, candidates=13)
    assert not nothing.positive.numpy().any()
    assert not nothing.target.numpy().any()
