"""Tiles of large images, with the parts of the objects that they show."""

import dataclasses

import cv2
import numpy as np
import pytest

from tfeff.boxes.tiling import Grid
from tfeff.data.contents import Contents, require_enough
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images import decoding
from tfeff.data.images.storage import EncodedImages
from tfeff.data.sources import catalog, tiles
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

RNG = np.random.default_rng(0)
SIZES = ((90, 200), (40, 60), (150, 30))
PIXELS = [RNG.integers(0, 256, (height, width, 3), np.uint8) for height, width in SIZES]
GRID = Grid((64, 64), 16)


def objects(*boxes, difficult=(), crowd=(), areas=None):
    count = np.arange(len(boxes))
    return Objects(
        np.array(boxes, np.float32).reshape(-1, 4),
        (count % 2).astype(np.int32),
        np.isin(count, difficult),
        np.isin(count, crowd),
        areas,
    )


@pytest.fixture
def large():
    return Dataset(
        name="made",
        class_names=("a", "b"),
        ids=["0", "1", "2"],
        objects=[objects((5, 5, 25, 45), (50, 60, 80, 100), difficult=[0]), objects((1, 2, 30, 50)), objects()],
        images=EncodedImages([cv2.imencode(".png", pixels[..., ::-1])[1].tobytes() for pixels in PIXELS], "made"),
        sizes=np.array(SIZES, np.int32),
        class_ids=(7, 9),
    )


def test_tiles_show_their_part_of_the_image(large):
    found = tiles.cut(large, GRID)
    for index, owner in enumerate(found.owners):
        assert found.ids[index].startswith(f"{owner} [")
        top, left, bottom, right = map(int, found.ids[index].partition(" [")[2][:-1].split(","))
        shown = decoding.decode(found.encoded(index), found.ids[index])
        np.testing.assert_array_equal(shown, PIXELS[owner][top:bottom, left:right])
        assert found.sizes[index].tolist() == [bottom - top, right - left]
        assert found.read(index).numpy().tolist() == shown.tolist()
    seen = [np.zeros(size, bool) for size in SIZES]
    for index, owner in enumerate(found.owners):
        top, left, bottom, right = map(int, found.ids[index].partition(" [")[2][:-1].split(","))
        seen[owner][top:bottom, left:right] = True
    assert all(each.all() for each in seen)
    assert found.sizes.max() == 64


def test_tiles_keep_what_is_known_of_their_images(large):
    found = tiles.cut(dataclasses.replace(large, notes=("a note",)), GRID)
    assert (found.class_names, found.class_ids, found.cropped.ids) == (large.class_names, large.class_ids, large.ids)
    assert (found.groups == found.owners).all()
    assert found.origins.tolist() == large.origins[found.owners].tolist()
    assert found.notes == (
        "a note",
        "made: 3 images are cut into 12 tiles of 64x64 pixels (data.tile), 9 of them without objects",
    )
    grouped = tiles.cut(dataclasses.replace(large, groups=np.array([4, 4, 5], np.int32)), GRID)
    assert set(grouped.groups[grouped.owners < 2].tolist()) == {4}
    assert found.fingerprint != tiles.cut(large, Grid((64, 64), 32)).fingerprint


def test_objects_are_cut_at_the_border_of_a_tile_and_difficult_if_little_is_left():
    every = objects((0, 0, 10, 10), (20, 30, 40, 50), (0, 50, 8, 90), areas=np.array([50.0, np.nan, 100.0]))
    ((found, indices),) = tiles.visible(every, np.array([[5, 20, 45, 60]]))
    assert indices.tolist() == [1, 2]
    assert found.boxes_yxyx.tolist() == [[15, 10, 35, 30], [0, 30, 3, 40]]
    assert found.labels.tolist() == [1, 0]
    assert found.difficult.tolist() == [False, True]  # 3 of 8 rows, 10 of 40 columns
    np.testing.assert_allclose(found.areas, [np.nan, 100 * 3 / 8 / 4])
    both = np.array([[10, 0, 20, 20], [0, 0, 20, 20]])
    (touching, _), (crowd, _) = tiles.visible(objects((0, 0, 10, 10), (0, 0, 9, 9), crowd=[0], difficult=[1]), both)
    assert len(touching) == 0
    assert (crowd.crowd.tolist(), crowd.difficult.tolist()) == ([True, False], [False, True])


def test_training_has_all_tiles_with_objects_and_as_many_without(large):
    found = tiles.cut(large, Grid((30, 30), 0))
    shows = np.array([(~each.ignored).any() for each in found.objects])
    assert shows.sum() < sum(len(each) > 0 for each in found.objects)  # some show little
    every = np.arange(len(found))
    trained = tiles.trained_on(found, every, seed=3)
    assert (np.diff(trained) > 0).all()
    assert set(every[shows]) <= set(trained)
    assert len(trained) == min(len(every), 2 * shows.sum())
    assert set(tiles.trained_on(found, every, seed=4)) != set(trained)
    some = every[found.owners == 1]
    assert set(tiles.trained_on(found, some, seed=3)) <= set(some)
    assert len(tiles.trained_on(found, every[found.owners == 2], seed=3)) == 1  # nothing is shown: one of five


def test_objects_that_no_tile_shows_enough_of_are_said(large):
    wide = objects((0, 0, 90, 200), (5, 5, 25, 45), (0, 0, 89, 199), difficult=[2])
    found = tiles.cut(dataclasses.replace(large, objects=[wide, objects(), objects()]), Grid((40, 40), 10))
    assert found.notes[-1] == (
        "made: no tile shows a quarter of 1 object, which the network cannot learn; set data.tile to the "
        "size of large objects"
    )


def test_images_and_objects_that_are_lost_are_shares_of_the_whole_ones(large):
    found = tiles.cut(large, GRID)
    corrupt = {name: "cut off" for name, owner in zip(found.ids, found.owners, strict=True) if owner == 0}
    contents = Contents.of(found, corrupt=corrupt)
    assert contents.defects.lost("images") == 1
    assert contents.lost("images") == pytest.approx(1 / 3)
    assert contents.images == len(found) - len(corrupt)
    assert contents.uncut == (2, 1)
    with pytest.raises(UserError, match=r"made: 1 of 3 images are lost \(33 %\)"):
        require_enough({"train": contents}, 0.1)


def test_a_source_is_cut_if_its_options_say_so():
    whole = catalog.open_objects("embedded:placed_digits:96", Options(channels=1))
    cut = catalog.open_objects("embedded:placed_digits:96", Options(channels=1, grid=Grid((64, 64), 32)))
    assert (cut.splits, cut.name, cut.drawn, cut.lists_cheaply) == (
        whole.splits,
        whole.name,
        whole.drawn,
        whole.lists_cheaply,
    )
    images, parts = whole.load("validation"), cut.load("validation")
    assert len(parts) == 4 * len(images)
    assert cut.shared("validation", "validation") == list(parts.ids)
    assert cut.shared("train", "validation") == []
    crops = catalog.open_labels("crops:embedded:placed_digits:96", Options(channels=1, grid=Grid((64, 64), 32)))
    assert crops.annotated("validation").ids == images.ids
