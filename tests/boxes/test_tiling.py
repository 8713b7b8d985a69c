"""Tiles cover an image, and a perfect detector's detections in them merge to the objects."""

from typing import Any

import numpy as np
import pytest

from tfeff.boxes import Tiling, iou, paired_iou
from tfeff.boxes import tiling as boxes_tiling
from tfeff.errors import UserError

SIZES = [((37, 53), (16, 20), 6), ((100, 90), (40, 40), 0), ((64, 64), (32, 16), 15), ((10, 200), (32, 32), 12)]


@pytest.mark.parametrize(("size", "tile", "overlap"), SIZES)
def test_tiles_cover_every_pixel_and_lie_in_the_image(
    size: tuple[int, int], tile: tuple[int, int], overlap: int
) -> None:
    tiling = Tiling(size, tile, overlap)
    seen, owned = np.zeros(size, int), np.zeros(size, int)
    for (top, left, bottom, right), core in zip(tiling.tiles_yxyx, tiling.cores_yxyx, strict=True):
        assert (bottom - top, right - left) == tuple(np.minimum(tile, size))
        seen[top:bottom, left:right] += 1
        y, x = np.ogrid[: size[0], : size[1]]
        owned += (core[0] <= y) & (y < core[2]) & (core[1] <= x) & (x < core[3])
    assert seen.min() > 0
    assert (owned == 1).all()
    assert Tiling(size, size, 0).tiles_yxyx.tolist() == [[0, 0, *size]]


@pytest.mark.parametrize(("size", "tile", "overlap"), [case for case in SIZES if case[-1]])
def test_a_box_no_larger_than_the_overlap_lies_in_the_tile_whose_core_contains_its_center(
    size: tuple[int, int], tile: tuple[int, int], overlap: int
) -> None:
    tiling, rng = Tiling(size, tile, overlap), np.random.default_rng(0)
    for box in objects(rng, size, overlap, count=2000):
        center = (box[:2] + box[2:]) / 2
        cores = tiling.cores_yxyx
        (tile_of,) = np.flatnonzero((cores[:, :2] <= center).all(axis=1) & (center < cores[:, 2:]).all(axis=1))
        top, left, bottom, right = tiling.tiles_yxyx[tile_of]
        assert top <= box[0] <= box[2] <= bottom
        assert left <= box[1] <= box[3] <= right


def objects(rng: np.random.Generator, size: tuple[int, int], longest: int, count: int) -> np.ndarray:
    """Returns random boxes with whole or fractional coordinates."""
    sides = rng.uniform(1, max(longest, 1), (count, 2)).clip(max=np.array(size))
    corners = rng.uniform(0, 1, (count, 2)) * (size - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1)
    return np.where(rng.random((count, 1)) < 0.5, np.round(boxes), boxes)


def separate(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns indices of boxes that overlap no earlier one of their class by an IoU above 0.3."""
    kept = list[int]()
    overlaps = iou(boxes, boxes)
    for index in range(len(boxes)):
        if all(labels[index] != labels[other] or overlaps[index, other] <= 0.3 for other in kept):
            kept.append(index)
    return np.array(kept, int)


def perfect(
    tiling: Tiling, boxes: np.ndarray, labels: np.ndarray, rng: np.random.Generator, noise: float = 0.0
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Returns what a detector reports that finds every visible part of an object, with any score.

    Each tile moves the sides of the boxes by up to `noise`, relative to their size.
    """
    found, sizes = [], np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    for top, left, bottom, right in tiling.tiles_yxyx:
        jittered = boxes + rng.uniform(-noise, noise, boxes.shape) * sizes
        parts = np.clip(jittered, [top, left, top, left], [bottom, right, bottom, right])
        visible = (parts[:, 2:] > parts[:, :2]).all(axis=1)
        found.append(((parts - [top, left, top, left])[visible], labels[visible], rng.uniform(0.5, 1, visible.sum())))
    return tuple(list(part) for part in zip(*found, strict=True))


def in_order(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = np.column_stack([labels, boxes])
    return rows[np.lexsort(rows.T[::-1])]


@pytest.mark.parametrize("seed", range(40))
def test_the_detections_of_a_perfect_detector_merge_to_the_objects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, tile = tuple(rng.integers(60, 300, 2).tolist()), tuple(rng.integers(30, 120, 2).tolist())
    overlap = int(rng.integers(2, min(tile)))
    tiling = Tiling(size, tile, overlap)
    boxes, labels = objects(rng, size, overlap, count=150), rng.integers(0, 2, 150)
    chosen = separate(boxes, labels)
    merged, merged_labels, scores = tiling.merge(*perfect(tiling, boxes[chosen], labels[chosen], rng))
    np.testing.assert_allclose(
        in_order(merged, merged_labels), in_order(boxes[chosen], labels[chosen]), rtol=0, atol=1e-4
    )
    assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("seed", range(40))
def test_boxes_that_differ_between_tiles_still_count_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tiling, grid = Tiling((300, 320), (100, 90), 24), np.stack(np.mgrid[0:260:40, 0:280:40], axis=-1).reshape(-1, 2)
    sides = rng.uniform(8, 22, grid.shape)
    corners = grid + rng.uniform(0, 38 - sides)
    boxes, labels = np.concatenate([corners, corners + sides], axis=1), np.zeros(len(grid), int)
    merged, _, _ = tiling.merge(*perfect(tiling, boxes, labels, rng, noise=0.1))
    best = iou(merged, boxes)
    assert sorted(best.argmax(axis=1)) == list(range(len(boxes)))
    assert best.max(axis=1).min() > 0.5


@pytest.mark.parametrize("seed", range(40))
def test_an_object_larger_than_the_overlap_is_the_union_of_its_parts(seed: int) -> None:
    """As long as it fits into two neighboring tiles in each direction."""
    rng = np.random.default_rng(seed)
    tiling = Tiling((300, 320), (100, 90), 24)
    sides = rng.uniform(25, 75, 2)
    corner = rng.uniform(0, 1, 2) * ((300, 320) - sides)
    boxes, labels = np.concatenate([corner, corner + sides])[None], np.zeros(1, int)
    merged, _, _ = tiling.merge(*perfect(tiling, boxes, labels, rng))
    np.testing.assert_allclose(merged, boxes, rtol=0, atol=1e-4)


def test_only_detections_of_overlapping_tiles_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(second)
        return paired_iou(first, second)

    monkeypatch.setattr(boxes_tiling, "paired_iou", counted)
    counts = []
    for side in (600, 1200):
        rng, tiling, compared = np.random.default_rng(0), Tiling((side, side), (60, 60), 10), 0
        corners = np.stack(np.mgrid[0:side:15, 0:side:15], axis=-1).reshape(-1, 2)
        boxes = np.concatenate([corners, corners + 9.0], axis=1)
        merged, _, _ = tiling.merge(*perfect(tiling, boxes, np.zeros(len(boxes), int), rng))
        assert len(merged) == len(boxes)
        counts.append(compared / len(boxes))
    assert counts[1] == pytest.approx(counts[0], rel=0.2)


def test_class_agnostic_tiles_show_an_object_once() -> None:
    tiling = Tiling((40, 100), (40, 60), 20)
    box = np.array([[10.0, 45, 20, 54]])
    seen = [box, box - [0, 40, 0, 40]]
    labels, scores = [np.array([0]), np.array([1])], [np.array([0.6]), np.array([0.9])]
    assert len(tiling.merge(seen, labels, scores)[0]) == 2
    merged, label, score = tiling.merge(seen, labels, scores, class_agnostic=True)
    np.testing.assert_array_equal(merged, box)
    assert label.tolist() == [0]  # that of the tile whose core has the center
    assert score == pytest.approx(0.6)


def test_neighbors_of_one_class_and_objects_of_two_classes_at_one_place_are_not_merged() -> None:
    tiling = Tiling((40, 100), (40, 60), 20)  # the tiles overlap from 40 to 60
    boxes = np.array([[10, 42, 20, 50], [10, 50, 20, 58], [10, 42, 20, 50]], float)
    labels = np.array([0, 0, 1])
    merged, merged_labels, _ = tiling.merge(*perfect(tiling, boxes, labels, np.random.default_rng(0)))
    np.testing.assert_array_equal(in_order(merged, merged_labels), in_order(boxes, labels))


WIDE = Tiling((640, 1120), (640, 640), 160)  # the tiles overlap from 480 to 640


def merged_rows(*tiles: list[tuple[float, float, float]]) -> list[list[float]]:
    """Merges detections (left, right, score) of WIDE's tiles, all in rows 200 to 260: the same of the result."""
    rows = [np.array(each, float).reshape(-1, 3) for each in tiles]
    boxes = [
        np.column_stack([np.full(len(each), 200), each[:, 0] - left, np.full(len(each), 260), each[:, 1] - left])
        for each, left in zip(rows, (0, 480), strict=True)
    ]
    labels, scores = [np.zeros(len(each), int) for each in rows], [each[:, 2] for each in rows]
    found, _, score = WIDE.merge(boxes, labels, scores)
    return [[left, right, round(float(each), 3)] for (_, left, _, right), each in zip(found, score, strict=True)]


def test_a_weak_detection_does_not_enlarge_a_strong_one() -> None:
    assert merged_rows([(490, 620, 0.9)], [(490, 620, 0.88), (485, 770, 0.002)]) == [[490, 620, 0.9]]


def test_a_weak_detection_does_not_join_two_neighbors() -> None:
    merged = merged_rows([(490, 620, 0.9)], [(490, 620, 0.88), (625, 755, 0.9), (488, 757, 0.01)])
    assert sorted(merged) == [[490, 620, 0.9], [625, 755, 0.9]]


def test_a_weak_detection_inside_a_core_does_not_remove_a_strong_one_outside() -> None:
    merged = merged_rows([(500, 622, 0.9), (420, 600, 0.01)], [(499, 620, 0.88), (530, 640, 0.01)])
    assert [row for row in merged if row[2] > 0.1] == [[500, 622, 0.9]]


def test_only_sides_that_a_border_cuts_move() -> None:
    assert merged_rows([(300, 640, 0.9)], [(480, 800, 0.8)]) == [[300, 800, 0.9]]
    assert merged_rows([(300, 630, 0.8)], [(482, 800, 0.9)]) == [[300, 800, 0.9]]  # imprecise at the borders
    assert merged_rows([(490, 620, 0.9)], [(485, 650, 0.88)]) == [[490, 620, 0.9]]


def test_a_box_of_the_tile_that_sees_more_keeps_the_highest_score() -> None:
    assert merged_rows([(490, 622, 0.7)], [(482, 640, 0.6)]) == [[490, 622, 0.7]]
    assert merged_rows([(500, 622, 0.9)], [(500, 624, 0.6)]) == [[500, 624, 0.9]]
    assert merged_rows([(500, 622, 0.9)], [(500, 624, 0.4)]) == [[500, 622, 0.9]]


def noise(rng: np.random.Generator, tiling: Tiling, found: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Returns random boxes in each tile, half of them around parts of its detections."""
    boxes = []
    for (top, left, bottom, right), objects in zip(tiling.tiles_yxyx, found, strict=True):
        height, width = bottom - top, right - left
        sides = rng.uniform(0.05, 0.8, (count, 2)) * (height, width)
        corners = rng.uniform(0, 1, (count, 2)) * ((height, width) - sides)
        anywhere = np.concatenate([corners, corners + sides], axis=1)
        near = objects[rng.integers(0, len(objects), count)] if len(objects) else anywhere
        near = near + rng.normal(0, 0.15, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2)
        near = np.clip(near, 0, [height, width] * 2)
        usable = (near[:, 2:] > near[:, :2]).all(axis=1, keepdims=True)
        boxes.append(np.where((rng.random((count, 1)) < 0.5) & usable, near, anywhere))
    return boxes


@pytest.mark.parametrize("seed", range(40))
def test_weak_detections_change_no_strong_ones(seed: int) -> None:
    """Evaluation merges everything and filters then; prediction filters first."""
    rng = np.random.default_rng(seed)
    tiling = Tiling((300, 320), (100, 90), 24)
    boxes = objects(rng, (300, 320), 40, count=60)
    strong = perfect(tiling, boxes, rng.integers(0, 2, len(boxes)), rng, noise=0.05)
    boxes_of, labels, scores = (list[np.ndarray]() for _ in range(3))
    for found, more, label, score in zip(strong[0], noise(rng, tiling, strong[0], 40), *strong[1:], strict=True):
        order = rng.permutation(len(found) + len(more))
        boxes_of.append(np.concatenate([found, more])[order])
        labels.append(np.concatenate([label, rng.integers(0, 2, len(more))])[order])
        scores.append(np.concatenate([score, rng.uniform(0.001, 0.24, len(more))])[order])
    expected = tiling.merge(*strong)
    every = tiling.merge(boxes_of, labels, scores)
    for whole, alone in zip(every, expected, strict=True):
        np.testing.assert_array_equal(whole[every[2] >= 0.5], alone)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_results_do_not_depend_on_detections_of_less_than_half_their_score(seed: int, class_agnostic: bool) -> None:
    rng = np.random.default_rng(seed)
    tiling = Tiling((300, 320), (100, 90), 24)
    truth = perfect(tiling, objects(rng, (300, 320), 60, count=40), np.zeros(40, int), rng)[0]
    boxes = noise(rng, tiling, truth, 50)
    labels, scores = [rng.integers(0, 2, 50) for _ in boxes], [rng.random(50) ** 2 for _ in boxes]
    every = tiling.merge(boxes, labels, scores, class_agnostic=class_agnostic)
    for least in (0.02, 0.1, 0.3):
        kept = [each >= least for each in scores]
        parts = [[each[keep] for each, keep in zip(part, kept, strict=True)] for part in (boxes, labels, scores)]
        filtered = tiling.merge(*parts, class_agnostic=class_agnostic)
        for whole, part in zip(every, filtered, strict=True):
            np.testing.assert_array_equal(whole[every[2] >= 2 * least], part[filtered[2] >= 2 * least])


def test_tiles_without_detections_merge_to_none() -> None:
    assert merged_rows([], []) == []
    assert merged_rows([], [(600, 700, 0.5)]) == [[600, 700, 0.5]]


@pytest.mark.parametrize("tile", [640, (640, 640), [640, 640], np.int64(640)])
def test_one_number_means_both_sides(tile: Any) -> None:
    assert boxes_tiling.checked_tiles(tile, None) == ((640, 640), 160)
    assert boxes_tiling.checked_tiles(tile, 20) == ((640, 640), 20)
    assert boxes_tiling.checked_tiles((100, 640), None) == ((100, 640), 25)


@pytest.mark.parametrize("tile", [0, -1, 2.5, (640,), (480, 640, 3), (480.0, 640.0), "640", (0, 640)])
def test_other_sizes_of_tiles_are_refused(tile: Any) -> None:
    with pytest.raises(UserError, match="give the size in pixels"):
        boxes_tiling.checked_tiles(tile, None)


@pytest.mark.parametrize("overlap", [640, -1, 0.5])
def test_overlaps_are_less_than_tiles_in_whole_pixels(overlap: Any) -> None:
    with pytest.raises(UserError, match="must be smaller than --tile=640x640, in whole pixels"):
        boxes_tiling.checked_tiles(640, overlap)
