import numpy as np
import pytest
import tensorflow as tf

from tfeff.boxes import Anchors, iou
from tfeff.boxes.assignment import ignored_overlap
from tfeff.tasks.matching import IGNORED, NEGATIVE, POSITIVE, by_image, match


def boxes(rng: np.random.Generator, count: int, size: int = 128) -> np.ndarray:
    corners = np.sort(rng.uniform(0, size, (count, 2, 2)), axis=1).reshape(count, 4)
    return corners.astype(np.float32)


def by_definition(anchors, objects, usable, hidden, positive, negative):
    """Returns one image, one anchor after the other."""
    overlap = iou(anchors, objects) * usable
    kinds, owners = [], []
    forced: dict[int, int] = {}
    for index in np.flatnonzero(usable):
        if overlap[:, index].max() > 0:
            forced.setdefault(int(overlap[:, index].argmax()), int(index))
    covered = ignored_overlap(anchors, objects[hidden])
    near = iou(anchors, objects) * hidden
    unclear = (covered > 0.3) | ((near > 0) & ((near >= negative) | (near == near.max(axis=0)))).any(axis=1)
    for anchor, row in enumerate(overlap):
        best = row.max(initial=-1)
        kind = POSITIVE if best >= positive else NEGATIVE if best < negative else IGNORED
        kind, owner = (POSITIVE, forced[anchor]) if anchor in forced else (kind, int(row.argmax()))
        kinds.append(IGNORED if kind == NEGATIVE and unclear[anchor] else kind)
        owners.append(owner)
    return np.array(kinds), np.array(owners)


@pytest.mark.parametrize(("positive", "negative"), [(0.5, 0.5), (0.5, 0.4), (0.7, 0.3), (0.5, 0.1)])
def test_equals_the_definition(positive: float, negative: float) -> None:
    rng = np.random.default_rng(0)
    anchors = Anchors(levels=(4, 5)).boxes((128, 128))
    objects = np.stack([boxes(rng, 7) for _ in range(6)])
    valid, ignored = rng.random((6, 7)) < 0.8, rng.random((6, 7)) < 0.3
    valid[0] = False  # an image without objects
    matched = match(
        tf.constant(anchors, tf.float64),
        tf.constant(objects),
        valid,
        ignored,
        positive_overlap=positive,
        negative_overlap=negative,
    )
    seen = set()
    for image in range(6):
        kinds, owners = by_definition(
            anchors, objects[image], valid[image] & ~ignored[image], valid[image] & ignored[image], positive, negative
        )
        np.testing.assert_array_equal(matched.kind[image], kinds)
        np.testing.assert_array_equal(matched.object[image].numpy()[kinds == POSITIVE], owners[kinds == POSITIVE])
        seen |= set(kinds.tolist())
    assert seen == {POSITIVE, NEGATIVE, IGNORED}


@pytest.mark.parametrize("forced", ["ties", "none"])
def test_ties_are_forced_but_keep_the_object_that_they_overlap_most(forced: str) -> None:
    rng = np.random.default_rng(1)
    anchors = np.round(boxes(rng, 200) / 16) * 16  # so that many overlap an object equally
    objects, usable = np.round(boxes(rng, 6) / 16) * 16, np.array([True] * 5 + [False])
    own = np.stack([anchors, anchors[::-1]])
    flags = tf.constant(np.stack([usable, usable])), tf.zeros((2, 6), tf.bool)
    matched = match(
        tf.constant(own),
        tf.constant(np.stack([objects, objects])),
        *flags,
        positive_overlap=0.7,
        negative_overlap=0.3,
        forced=forced,
    )
    overlap = iou(anchors, objects) * usable
    best = overlap.max(axis=1)
    ties = ((overlap == overlap.max(axis=0)) & (overlap.max(axis=0) > 0)).any(axis=1)
    kinds = np.where(best >= 0.7, POSITIVE, np.where(best < 0.3, NEGATIVE, IGNORED))
    if forced == "ties":
        assert (ties & (kinds != POSITIVE)).sum() > ties.any()
        kinds = np.where(ties, POSITIVE, kinds)
    np.testing.assert_array_equal(matched.kind[0], kinds)
    np.testing.assert_array_equal(matched.kind[1], kinds[::-1])
    np.testing.assert_array_equal(matched.object[0], overlap.argmax(axis=1) * (best > 0))


def test_anchors_with_too_little_overlap_for_background_are_ignored() -> None:
    rng = np.random.default_rng(2)
    own, objects = np.stack([boxes(rng, 300), boxes(rng, 300)]), np.stack([boxes(rng, 4), boxes(rng, 4)])
    valid, hidden = np.array([[True, True, False, True], [False] * 4]), np.zeros((2, 4), bool)
    limits = {"positive_overlap": 0.5, "negative_overlap": 0.5, "forced": "none"}
    matched = match(tf.constant(own), tf.constant(objects), valid, hidden, **limits, background_overlap=0.1)
    overlap = (iou(own[0], objects[0]) * valid[0]).max(axis=1)
    expected = np.where(overlap >= 0.5, POSITIVE, np.where(overlap >= 0.1, NEGATIVE, IGNORED))
    np.testing.assert_array_equal(matched.kind[0], expected)
    assert set(expected) == {POSITIVE, NEGATIVE, IGNORED}
    assert (matched.kind[1].numpy() == IGNORED).all()  # there is no object to overlap
    everything = match(tf.constant(own), tf.constant(objects), valid, hidden, **limits)
    assert (everything.kind[1].numpy() == NEGATIVE).all()


def test_each_object_has_an_anchor_even_if_it_fits_none() -> None:
    anchors = tf.constant([[0.0, 0, 8, 8], [8, 8, 16, 16]])
    tiny, outside = [9.0, 9, 10, 10], [100.0, 100, 110, 110]
    flags = tf.constant([[True, True]]), tf.constant([[False, False]])
    matched = match(anchors, tf.constant([[tiny, outside]]), *flags, positive_overlap=0.5, negative_overlap=0.5)
    assert matched.kind.numpy().tolist() == [[NEGATIVE, POSITIVE]]
    assert matched.object.numpy()[0, 1] == 0


@pytest.mark.parametrize("forced", ["best", "ties", "none"])
def test_the_anchor_of_a_tiny_ignored_object_is_no_background(forced: str) -> None:
    anchors = tf.constant([[0.0, 0, 32, 32], [32, 32, 64, 64], [4, 4, 36, 36]])
    tiny = tf.constant([[[1.0, 1, 3, 3], [40, 40, 44, 44]]])
    flags = tf.ones((1, 2), tf.bool), tf.constant([[True, False]])
    found = match(anchors, tiny, *flags, positive_overlap=0.5, negative_overlap=0.5, forced=forced)
    rest = NEGATIVE if forced == "none" else POSITIVE
    assert found.kind.numpy().tolist() == [[NEGATIVE if forced == "none" else IGNORED, rest, NEGATIVE]]


@pytest.mark.parametrize("most", [10**6, 3 * 5 * 2, 3 * 5 * 2 - 1, 1])
def test_images_one_by_one(most: int) -> None:
    rng = np.random.default_rng(0)
    objects, cells = tf.constant(rng.uniform(size=(3, 2, 4))), tf.constant(rng.uniform(size=(3, 5, 4)))
    seen = []

    def nearest(objects: tf.Tensor, cells: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seen.append(len(objects))
        distance = tf.reduce_sum((objects[:, tf.newaxis] - cells[:, :, tf.newaxis]) ** 2, axis=-1)
        return tf.argmin(distance, axis=-1), tf.reduce_min(distance, axis=-1)

    found = by_image(nearest, (objects, cells), (tf.int64, tf.float64), 5, most=most)
    assert seen == ([3] if most >= 30 else [1, 1, 1])
    for values, expected in zip(found, nearest(objects, cells), strict=True):
        np.testing.assert_array_equal(values, expected)


def test_the_first_of_two_objects_gets_an_anchor_that_both_want() -> None:
    anchors = tf.constant([[0.0, 0, 8, 8]])
    same = tf.constant([[[0.0, 0, 4, 4], [0.0, 0, 4, 4]]])
    flags = tf.constant([[True, True]]), tf.constant([[False, False]])
    matched = match(anchors, same, *flags, positive_overlap=0.5, negative_overlap=0.5)
    assert (matched.kind.numpy().tolist(), matched.object.numpy().tolist()) == ([[POSITIVE]], [[0]])
