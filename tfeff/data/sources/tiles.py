"""Overlapping tiles of large images, with the parts of the objects that they show.

Small objects of a large photograph would be lost at the size of a network's input; in a tile, they keep their pixels.
Detections in the tiles of an image are merged by `tfeff.boxes.tiling`, which assumes that a tile reports the visible
part of an object that its border cuts: such parts are the objects here.
"""

from collections.abc import Sequence

import numpy as np

from tfeff.boxes.tiling import Grid
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.names import counted
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
        names = set(self.source.shared(one, other))
        if not names:
            return []
        tiles = self.load(other)
        assert tiles.cropped is not None
        owners = [index for index, name in enumerate(tiles.cropped.ids) if name in names]
        return [tiles.ids[place] for place in np.flatnonzero(np.isin(tiles.owners, owners)).tolist()]

    def leave_out(self, split: str, ids: Sequence[str], kind: str) -> None:
        """Leaves out the images of the source that some tiles are cut from, and so all their tiles."""
        tiles = self.load(split)
        assert tiles.cropped is not None
        owners = np.unique(tiles.owners[np.isin(tiles.ids, list(ids))])
        self.source.leave_out(split, [tiles.cropped.ids[owner] for owner in owners], kind)
        self._loaded.clear()

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
    boxes, objects, unseen = np.concatenate(tiles), list[Objects](), 0
    for whole, places in zip(dataset.objects, tiles, strict=True):
        shown = visible(whole, places)
        objects += [each for each, _ in shown]
        seen = np.unique(np.concatenate([indices[~each.difficult] for each, indices in shown]))
        unseen += int((~whole.ignored).sum()) - int((~whole.ignored[seen]).sum())
    assert grid.tile is not None
    height, width = grid.tile
    empty = sum(bool(each.ignored.all()) for each in objects)
    notes = [
        f"{dataset.name}: {len(dataset):,} images are cut into {len(boxes):,} tiles of {height}x{width} pixels "
        f"(data.tile), {empty:,} of them without objects"
    ]
    if unseen:
        notes.append(
            f"{dataset.name}: no tile shows a quarter of {counted(unseen, 'objects')}, which the network cannot learn; "
            "set data.tile to the size of large objects"
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
        notes=(*dataset.notes, *notes),
        class_ids=dataset.class_ids,
    )


def visible(objects: Objects, tiles_yxyx: np.ndarray) -> list[tuple[Objects, np.ndarray]]:
    """Returns the parts of objects in some tiles; those that show little of an object are difficult.

    Args:
        objects: the n objects of the image.
        tiles_yxyx: int [T, 4].

    Returns:
        For each tile the parts, in its pixels, and the objects that they are of, int64 [k].
    """
    boxes, tiles = objects.boxes_yxyx.astype(np.float64), tiles_yxyx[:, None].astype(np.float64)
    origins = np.tile(tiles[..., :2], 2)
    parts = np.clip(boxes[None] - origins, 0, np.tile(tiles[..., 2:] - tiles[..., :2], 2))
    shares = _areas(parts) / np.maximum(_areas(boxes), 1e-9)
    found = list[tuple[Objects, np.ndarray]]()
    for part, share in zip(parts, shares, strict=True):
        seen = np.flatnonzero(share > 0)
        own = objects.take(seen)
        shown = Objects(
            boxes_yxyx=part[seen].astype(np.float32),
            labels=own.labels,
            difficult=own.difficult | (share[seen] < LEAST_SHARE),
            crowd=own.crowd,
            areas=None if own.areas is None else own.areas * share[seen],
        )
        found.append((shown, seen))
    return found


def trained_on(tiles: Dataset, places: np.ndarray, seed: int) -> np.ndarray:
    """Returns those tiles of some that are trained on: all that show objects, and at most as many others.

    Difficult objects and crowds do not count.

    Most tiles of a large photograph may show nothing; they would take most of the time.

    Args:
        tiles: what `cut` returned.
        places: int [m], rising.
        seed: seed of the draw.

    Returns:
        int64 [k], rising.
    """
    shows = np.array([not tiles.objects[place].ignored.all() for place in places], bool)
    empty = places[~shows]
    drawn = np.random.default_rng(seed).permutation(empty)[: max(1, int(shows.sum()))]
    return np.sort(np.concatenate([places[shows], drawn]))


def _areas(boxes_yxyx: np.ndarray) -> np.ndarray:
    return (boxes_yxyx[..., 2] - boxes_yxyx[..., 0]) * (boxes_yxyx[..., 3] - boxes_yxyx[..., 1])
