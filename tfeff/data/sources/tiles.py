"""Overlapping tiles of large images, with the parts of the objects that they show.

Small objects of a large photograph would be lost at the size of a network's input; in a tile, they keep their pixels.
Detections in the tiles of an image are merged by `tfeff.boxes.tiling`, which assumes that a tile reports the visible
part of an object that its border cuts: such parts are the objects here.
"""

from collections.abc import Sequence

import numpy as np

from tfeff.boxes.tiling import Grid
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.sources.parts import CroppedImages, Parts, part_ids
from tfeff.data.sources.source import Options, Source

LEAST_SHARE = 0.25
"""Parts that show less of an object are difficult, so neither learned nor counted."""


class Tiles(Parts):
    """Tiles of every image of a source with objects.

    Args:
        source: a source with objects.
        options: `grid` and `channels` apply.
    """

    def __init__(self, source: Source, options: Options) -> None:
        super().__init__(source.name, source, options)

    @property
    def seeded(self) -> bool:
        """Whether the images of a split of the source depend on the seed."""
        return self.source.seeded

    @property
    def lists_cheaply(self) -> bool:
        """As the source does."""
        return self.source.lists_cheaply

    @property
    def box_format(self) -> tuple[str, str] | None:
        """That of the source."""
        return self.source.box_format

    def shared(self, one: str, other: str) -> list[str]:
        """Returns the tiles of the images that two splits share, as the second one names them."""
        tiles = self.load(other)
        assert tiles.cropped is not None
        names = set(self.source.shared(one, other))
        owners = [index for index, name in enumerate(tiles.cropped.ids) if name in names]
        return [tiles.ids[place] for place in np.flatnonzero(np.isin(tiles.owners, owners)).tolist()]

    def _load(self, split: str) -> Dataset:
        assert self.options.grid is not None
        return cut(self.source.load(split), self.options.grid)


def cut(dataset: Dataset, grid: Grid) -> Dataset:
    """Returns the tiles of every image, one image after the other.

    Args:
        dataset: a dataset with objects.
        grid: how images are cut.
    """
    tiles = [grid.of((int(height), int(width))).tiles_yxyx for height, width in dataset.sizes]
    owners = np.repeat(np.arange(len(dataset), dtype=np.int32), [len(each) for each in tiles])
    boxes = np.concatenate(tiles)
    objects = [visible(dataset.objects[owner], tile) for owner, tile in zip(owners.tolist(), boxes, strict=True)]
    assert grid.tile is not None
    height, width = grid.tile
    note = (
        f"{dataset.name}: {len(dataset):,} images are cut into {len(boxes):,} tiles of {height}x{width} pixels "
        f"(data.tile), {sum(not len(each) for each in objects):,} of them without objects"
    )
    return Dataset(
        name=dataset.name,
        class_names=dataset.class_names,
        ids=part_ids(dataset, owners, boxes),
        images=CroppedImages(dataset, owners, boxes.astype(np.float32), 0.0),
        channels=dataset.channels,
        objects=objects,
        groups=owners if dataset.groups is None else dataset.groups[owners],
        cropped=dataset,
        owners=owners,
        grid=grid,
        sizes=(boxes[:, 2:] - boxes[:, :2]).astype(np.int32),
        defects=dataset.defects,
        notes=(*dataset.notes, note),
        class_ids=dataset.class_ids,
    )


def visible(objects: Objects, tile_yxyx: np.ndarray) -> Objects:
    """Returns the parts of objects in a tile, in its pixels; those that show little of an object are difficult.

    Args:
        objects: the objects of the image.
        tile_yxyx: int [4].
    """
    boxes = objects.boxes_yxyx.astype(np.float64)
    parts = np.clip(boxes - np.tile(tile_yxyx[:2], 2), 0, np.tile(tile_yxyx[2:] - tile_yxyx[:2], 2))
    shares = _areas(parts) / np.maximum(_areas(boxes), 1e-9)
    seen = np.flatnonzero(shares > 0)
    found, shares = objects.take(seen), shares[seen]
    return Objects(
        boxes_yxyx=parts[seen].astype(np.float32),
        labels=found.labels,
        difficult=found.difficult | (shares < LEAST_SHARE),
        crowd=found.crowd,
        areas=None if found.areas is None else found.areas * shares,
    )


def trained_on(tiles: Dataset, places: np.ndarray, seed: int) -> np.ndarray:
    """Returns those tiles of some that are trained on: all that show objects, and at most as many that show none.

    Most tiles of a large photograph may show nothing; they would take most of the time.

    Args:
        tiles: what `cut` returned.
        places: int [m], rising.
        seed: seed of the draw.

    Returns:
        int64 [k], rising.
    """
    shows = np.array([len(tiles.objects[place]) > 0 for place in places], bool)
    empty = places[~shows]
    drawn = np.random.default_rng(seed).permutation(empty)[: max(1, int(shows.sum()))]
    return np.sort(np.concatenate([places[shows], drawn]))


def _areas(boxes_yxyx: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes_yxyx)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
