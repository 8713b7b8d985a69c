"""Overlapping tiles of a large image, and the merging of what was detected in each of them.

A tile sees only a part of an object that its border cuts. Neighboring tiles share an overlap, so objects up to its size
lie wholly in at least one tile. The lines through the middle of the overlaps divide the image into one core per tile. A
detection counts in the tile whose core contains its center: that tile sees the object whole, while the part of it in
another tile has its center outside that tile's core. Two tiles can still report the same object near a middle line, or
if the object is larger than the overlap. Then their boxes agree in the area that both tiles see, wherever the tiles cut
them. Only detections of comparable score decide about each other; the others yield to the best.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfeff.boxes.overlap import paired_iou
from tfeff.errors import UserError

Tile = int | tuple[int, int]
"""Size of a tile in pixels: both sides, or (height, width)."""
TOLERANCE = 0.1
"""Largest distance of a detection's center from the core, relative to the size of its box. The boxes of an object in
two tiles differ slightly, so each center can lie in the other tile's core. Also the largest distance of a side from the
border of its tile that cuts it."""
SAME = 0.5
"""IoU above which boxes of two tiles are the same object."""
SAME_PARTS = 0.75
"""The same for the parts of the boxes in the area that both tiles see; lower values would merge neighboring objects."""
COMPARABLE = 0.5
"""Lowest score of a detection that can change the box of an object, relative to the score of the object's best one."""


class Tiling:
    """An image cut into tiles of one size, in rows and columns. The last ones end at the image's border.

    Args:
        size: (height, width) of the image in pixels.
        tile: (height, width) of a tile. Sides longer than the image's are reduced to them.
        overlap: minimum number of pixels that neighboring tiles share, less than the sides of a tile.

    Attributes:
        tiles_yxyx: int64 [T, 4].
        cores_yxyx: float64 [T, 4]; those at the border of the image have no limit there (infinity).

    >>> Tiling((480, 1000), (480, 640), overlap=160).tiles_yxyx.tolist()
    [[0, 0, 480, 640], [0, 360, 480, 1000]]
    """

    def __init__(self, size: tuple[int, int], tile: tuple[int, int], overlap: int) -> None:
        (rows, row_cores), (columns, column_cores) = (
            _cut(length, side, overlap) for length, side in zip(size, tile, strict=True)
        )
        self.tiles_yxyx = _grid(rows, columns)
        self.cores_yxyx = _grid(row_cores, column_cores)

    def merge(
        self,
        boxes_yxyx: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        scores: Sequence[np.ndarray],
        *,
        class_agnostic: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Merges the detections of the T tiles.

        Suppose that every tile reports all its objects with comparable scores, including the visible part of those
        that its border cuts. Then the result is exact for objects up to the size of the overlap, if objects of one
        class overlap by an IoU of at most 0.3. Larger objects are the union of their parts if they fit into two
        neighboring tiles in each direction.

        A detection is not changed or removed by one of less than half its score. So results with scores of at least 2s
        do not depend on detections with scores below s.

        Args:
            boxes_yxyx: T arrays, float [n, 4], in pixels of the tile.
            labels: T arrays, int [n].
            scores: T arrays, float [n].
            class_agnostic: detections of different classes can show the same object.

        Returns:
            boxes_yxyx float32 [m, 4] in pixels of the image, labels int32 [m], scores float32 [m], by descending score.
        """
        tile = np.repeat(np.arange(len(self.tiles_yxyx)), [len(each) for each in boxes_yxyx])
        label, score = np.concatenate(list(labels)).astype(np.int32), np.concatenate(list(scores)).astype(np.float32)
        boxes = np.concatenate([np.reshape(each, (-1, 4)) for each in boxes_yxyx]).astype(np.float64)
        boxes += np.tile(self.tiles_yxyx[tile, :2], 2)

        distance = self._distance(boxes, tile)
        inside = distance == 0
        candidates = np.flatnonzero(distance <= TOLERANCE)
        order = candidates[np.lexsort((~inside[candidates], -score[candidates]))]
        same_as = self._same(boxes, tile, np.zeros_like(label) if class_agnostic else label, order)
        cut = self._at_border(boxes, tile)
        remaining = np.zeros(len(tile), bool)
        remaining[order] = True
        merged, best, kept = boxes.copy(), score.copy(), list[int]()
        for highest in order:
            if not remaining[highest]:
                continue
            first, least = highest, COMPARABLE * score[highest]
            if not inside[highest] and highest in same_as:
                # A tile whose core contains the center sees more of the object.
                better = same_as[highest]
                better = better[remaining[better] & inside[better] & (score[better] >= least)]
                first = better[0] if len(better) else highest
            kept.append(first)
            remaining[first] = False
            if first not in same_as:
                continue
            same = same_as[first]
            same = same[remaining[same]]
            remaining[same] = False
            same = same[score[same] >= least]
            best[first] = max(score[first], score[same[label[same] == label[first]]].max(initial=0.0))
            # Two tiles count parts of one object only if each sees something that the other does not.
            parts = boxes[np.append(first, same[inside[same]])]
            union = np.concatenate([parts[:, :2].min(axis=0), parts[:, 2:].max(axis=0)])
            merged[first] = np.where(cut[first], union, boxes[first])
        result = np.array(sorted(kept, key=lambda index: -best[index]), np.int64)
        return merged[result].astype(np.float32), label[result], best[result]

    def _same(self, boxes: np.ndarray, tile: np.ndarray, label: np.ndarray, rows: np.ndarray) -> dict[int, np.ndarray]:
        """Returns, for each of some detections, which others of its label show the same object in other tiles.

        Args:
            boxes: in pixels of the image.
            tile: tile of each detection.
            label: label of each detection.
            rows: the detections.

        Returns:
            Indices of detections in the order of `rows`; detections without others are absent.
        """
        by_tile = rows[np.argsort(tile[rows], kind="stable")]
        own = np.split(by_tile, np.cumsum(np.bincount(tile[rows], minlength=len(self.tiles_yxyx)))[:-1])
        first, second = [by_tile[:0]], [by_tile[:0]]
        for index, limits in enumerate(self.tiles_yxyx):
            common = _clip(self.tiles_yxyx[index + 1 :], limits)
            for other in index + 1 + np.flatnonzero((common[:, :2] < common[:, 2:]).all(axis=1)):
                ours, others = own[index][:, np.newaxis], own[other]
                possible = label[ours] == label[others]
                for axis in range(2):
                    possible &= boxes[ours, axis] < boxes[others, axis + 2]
                    possible &= boxes[others, axis] < boxes[ours, axis + 2]
                ours, others = np.nonzero(possible)
                first.append(own[index][ours])
                second.append(own[other][others])
        one, two = np.concatenate(first), np.concatenate(second)
        common = _clip(self.tiles_yxyx[tile[one]], self.tiles_yxyx[tile[two]])
        parts = paired_iou(_clip(boxes[one], common), _clip(boxes[two], common))
        found = (paired_iou(boxes[one], boxes[two]) > SAME) | (parts > SAME_PARTS)
        one, two = np.concatenate([one[found], two[found]]), np.concatenate([two[found], one[found]])
        rank = np.empty(len(tile), np.int64)
        rank[rows] = np.arange(len(rows))
        pairs = np.lexsort((rank[two], one))
        owners, starts = np.unique(one[pairs], return_index=True)
        # Without any pair, `split` returns one empty part.
        return dict(zip(owners.tolist(), np.split(two[pairs], starts[1:])[: len(owners)], strict=True))

    def _at_border(self, boxes: np.ndarray, tile: np.ndarray) -> np.ndarray:
        """Returns which sides of each box lie at a border of its tile inside the image: bool [n, 4]."""
        margin = TOLERANCE * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        near = np.abs(boxes - self.tiles_yxyx[tile]) <= margin
        return near & np.isfinite(self.cores_yxyx[tile])

    def _distance(self, boxes: np.ndarray, tile: np.ndarray) -> np.ndarray:
        """Returns the distance of each box's center from the core of its tile, relative to the box's size; 0 inside."""
        cores = self.cores_yxyx[tile]
        center, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-9)
        # A core includes its top and left limits, not those at the bottom and right.
        outside = np.maximum(cores[:, :2] - center, np.nextafter(center, np.inf) - cores[:, 2:])
        return np.maximum(outside / sides, 0.0).max(axis=1)


@dataclass(frozen=True)
class Grid:
    """How images are cut into tiles.

    Attributes:
        tile: (height, width) of a tile in pixels; None: images are not cut.
        overlap: pixels that neighboring tiles share at least.
        class_agnostic: see `Tiling.merge`.
    """

    tile: tuple[int, int] | None = None
    overlap: int = 0
    class_agnostic: bool = False

    def of(self, size: tuple[int, int]) -> Tiling:
        """Returns the tiles of an image of a size, (height, width)."""
        return Tiling(size, self.tile or size, self.overlap)


def _cut(length: int, side: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (start, end) of the tiles along one side of the image, and of their cores: [n, 2] each."""
    side = min(side, length)
    starts = np.append(np.arange(0, length - side, side - min(overlap, side - 1)), length - side)
    ends = starts + side
    middles = (ends[:-1] + starts[1:]) / 2
    cores = np.stack([np.append(-np.inf, middles), np.append(middles, np.inf)], axis=1)
    return np.stack([starts, ends], axis=1), cores


def _grid(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns boxes [R * C, 4] from the intervals [R, 2] and [C, 2] of rows and columns."""
    row, column = np.repeat(rows, len(columns), axis=0), np.tile(columns, (len(rows), 1))
    return np.stack([row[:, 0], column[:, 0], row[:, 1], column[:, 1]], axis=1)


def _clip(boxes: np.ndarray, limits_yxyx: np.ndarray) -> np.ndarray:
    """Returns the parts of boxes inside other boxes, [n, 4]; their area is 0 if there are none."""
    return np.clip(boxes, np.tile(limits_yxyx[..., :2], 2), np.tile(limits_yxyx[..., 2:], 2))


def checked_tiles(tile: Tile | None, overlap: int | None) -> tuple[tuple[int, int] | None, int]:
    """Returns (height, width) of tiles, and the pixels that neighboring ones share; (None, 0) without tiles.

    Args:
        overlap: None: a quarter of the shorter side.

    Raises:
        UserError: sides that are not numbers of pixels, an overlap without tiles, or one that is not smaller than the
            tile.
    """
    if tile is None:
        if overlap is not None:
            raise UserError("--tile_overlap requires --tile; remove it")
        return None, 0
    try:
        height, width = map(operator.index, tile if isinstance(tile, Sequence) else (tile, tile))
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise UserError(f"--tile={tile}: give the size in pixels, as one number or as (height, width)")
    shared = min(height, width) // 4 if overlap is None else overlap
    if shared not in range(min(height, width)):
        raise UserError(f"--tile_overlap={shared}: must be smaller than --tile={height}x{width}, in whole pixels")
    return (height, width), int(shared)
