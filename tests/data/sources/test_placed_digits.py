import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from tfeff.boxes.overlap import area
from tfeff.data.images import decoding
from tfeff.data.sources import catalog, placed_digits
from tfeff.errors import UserError


@pytest.fixture(scope="module")
def sources():
    return {name: catalog.open_objects(f"embedded:{name}").load("validation") for name in placed_digits.NAMES}


def pixels(source, index):
    return decoding.decode(source.encoded(index), source.ids[index])


def test_object_counts(sources):
    counts = np.bincount([len(objects) for objects in sources["placed_digits"].objects])
    assert counts[0] == 0
    assert len(counts) == 7
    assert (counts[1:] > 20).all()
    assert {len(objects) for objects in sources["single_digits"].objects} == {1}


@pytest.mark.parametrize("name", placed_digits.NAMES)
def test_boxes_are_inside_of_various_sizes_with_little_overlap(sources, name):
    source = sources[name]
    assert source.class_names == tuple("0123456789")
    every = np.concatenate([objects.boxes_yxyx for objects in source.objects])
    assert every.dtype == np.float32
    assert (every[:, :2] >= 0).all()
    assert (every[:, 2:] <= 128).all()
    heights = every[:, 2] - every[:, 0]
    assert heights.min() >= 10
    assert heights.max() > 2 * heights.min()
    assert set(np.concatenate([objects.labels for objects in source.objects]).tolist()) == set(range(10))
    for boxes in (objects.boxes_yxyx for objects in source.objects):
        corners = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        common = area(np.concatenate(corners, axis=-1).reshape(-1, 4)).reshape(len(boxes), -1)
        smaller = np.minimum(area(boxes)[:, None], area(boxes)[None])
        assert (common / smaller)[~np.eye(len(boxes), dtype=bool)].max(initial=0) <= 0.2


def test_images_are_reproducible(monkeypatch, sources):
    for split in ("train", "test"):
        monkeypatch.setitem(placed_digits.COUNTS, split, 20)
    whole = catalog.open_objects("embedded:placed_digits").load("all")
    alone = sources["placed_digits"]
    first = whole.ids.index("validation-00000")
    for index in (5, 0, 399):
        assert alone.encoded(index) == alone.encoded(index) == whole.encoded(first + index)
        np.testing.assert_array_equal(alone.objects[index].boxes_yxyx, whole.objects[first + index].boxes_yxyx)
    assert len(whole) == 20 + 400 + 20
    assert len({alone.encoded(index) for index in range(50)}) == 50


def test_the_canvas_size_can_be_chosen(monkeypatch):
    monkeypatch.setitem(placed_digits.COUNTS, "test", 100)
    assert pixels(catalog.open_objects("embedded:single_digits:96").load("test"), 3).shape == (96, 96, 3)
    monkeypatch.setattr(placed_digits, "CANVAS", (64, 700))
    wide = catalog.open_objects("embedded:placed_digits").load("test")
    assert pixels(wide, 0).shape == (64, 700, 3)
    assert max(objects.boxes_yxyx[:, 3].max() for objects in wide.objects) > 640
    for name, message in {
        "placed_digits:9": "at least 48",
        "placed_digits:x": "is not a size",
        "placed_digit": "did you",
    }.items():
        with pytest.raises(UserError, match=message):
            catalog.open_objects(f"embedded:{name}").load("test")
    with pytest.raises(UserError, match="no split"):
        catalog.open_objects("embedded:placed_digits").load("tset")


def test_boxes_surround_the_ink(monkeypatch, sources):
    """On a canvas of one color, pixels that differ from it by more than half of the ink's contrast are the digit."""
    monkeypatch.setattr(placed_digits, "_texture", lambda photographs, canvas, rng: np.zeros((*canvas, 3), np.uint8))
    for index in range(60):
        image = pixels(sources["single_digits"], index).max(axis=-1).astype(float)
        rows, columns = np.nonzero(image > 0.5 * image.max())
        around = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_allclose(sources["single_digits"].objects[index].boxes_yxyx[0], around, atol=1)


def test_splits_have_disjoint_digits():
    rows = placed_digits._rows_of_splits(load_digits().target)
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(1797))
    assert [len(part) for part in rows.values()] == [1258, 269, 270]


def test_a_classifier_generalizes_to_another_split(monkeypatch):
    monkeypatch.setattr(placed_digits, "_texture", lambda photographs, canvas, rng: np.zeros((*canvas, 3), np.uint8))

    def cut(split, count):
        monkeypatch.setitem(placed_digits.COUNTS, split, count)
        source = catalog.open_objects("embedded:single_digits").load(split)
        rows = []
        for index in range(count):
            top, left, bottom, right = source.objects[index].boxes_yxyx[0].astype(int)
            ink = pixels(source, index)[top:bottom, left:right].max(axis=-1).astype(np.float32)
            rows.append(cv2.resize(ink / ink.max(), (12, 12), interpolation=cv2.INTER_AREA).ravel())
        return np.array(rows), np.concatenate([objects.labels for objects in source.objects])

    classifier = SVC().fit(*cut("train", 600))
    assert classifier.score(*cut("test", 200)) > 0.85
