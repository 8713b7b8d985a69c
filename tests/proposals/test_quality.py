"""Measures of synthetic stores, compared with loops over boxes."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import DrawnImages, content_digest
from tfeff.errors import UserError
from tfeff.proposals import ProposalStore, ProposedBoxes
from tfeff.proposals.quality import BREAKDOWN_COUNT, TABLE_COUNTS, Quality
from tfeff.proposals.store import Writer
from tfeff.reporting import tables

SIDE = 200
IMAGES = 12
CLASSES = ("bird", "cat", "dog", "owl")
UNSEEN = 3
"""A class without objects."""


def boxes(rng, n):
    """Returns boxes uint16 [n, 4] of all sizes, each with a positive area."""
    sides = np.exp(rng.uniform(np.log(6), np.log(SIDE), (n, 2))).astype(int)
    corners = rng.integers(0, SIDE - sides + 1)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.uint16)


def encoded(number):
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def objects(rng):
    n = int(rng.integers(0, 9))
    return Objects(
        boxes_yxyx=boxes(rng, n).astype(np.float32),
        labels=rng.integers(0, UNSEEN, n).astype(np.int32),
        difficult=rng.random(n) < 0.2,
        crowd=rng.random(n) < 0.2,
    )


class Data:
    """An in-memory dataset that counts how often each file is read."""

    def __init__(self):
        rng = np.random.default_rng(3)
        self.files = [encoded(number) for number in range(IMAGES)]
        self.objects = [objects(rng) for _ in self.files]
        self.read = [0] * IMAGES
        self.source = Dataset(
            name="synthetic",
            class_names=CLASSES,
            ids=[f"{number}.png" for number in range(IMAGES)],
            objects=self.objects,
            images=DrawnImages(IMAGES, self.encoded, "synthetic"),
            sizes=np.full((IMAGES, 2), SIDE, np.int32),
        )

    def encoded(self, index):
        self.read[index] += 1
        return self.files[index]


@pytest.fixture
def data():
    return Data()


def make_store(directory, source, cells, files):
    """Returns a store with `cells` as the proposals of each image; None skips the image."""
    store = ProposalStore.create(directory, {"engine": directory.name})
    with Writer(store) as writer:
        for name, found, file in zip(source.ids, cells, files, strict=True):
            if found is not None:
                writer.add(name, content_digest(file), ProposedBoxes(found, (SIDE, SIDE), (SIDE, SIDE)))
    store.refresh()
    return store


@pytest.fixture
def cells():
    """Proposals of two proposers: many per image; few per image, with none for one image."""
    rng = np.random.default_rng(7)
    many = [boxes(rng, 700 + 100 * number) for number in range(IMAGES)]
    few = [boxes(rng, 3 * number) for number in range(IMAGES)]
    return {"many": many, "few": few}


@pytest.fixture
def stores(tmp_path, data, cells):
    return {name: make_store(tmp_path / name, data.source, found, data.files) for name, found in cells.items()}


def overlap(one, other):
    """Returns the intersection over union of two boxes, counted in pixels."""
    grids = np.zeros((2, SIDE, SIDE), bool)
    for grid, (top, left, bottom, right) in zip(grids, (one, other), strict=True):
        grid[int(top) : int(bottom), int(left) : int(right)] = True
    return (grids[0] & grids[1]).sum() / (grids[0] | grids[1]).sum()


def best(data, cells, count):
    """Returns (class, area, best overlap with the first `count`) of each evaluated object."""
    rows = []
    for found, items in zip(cells, data.objects, strict=True):
        for box, label, difficult, crowd in zip(
            items.boxes_yxyx, items.labels, items.difficult, items.crowd, strict=True
        ):
            if not difficult and not crowd:
                # Count pixels only for proposals whose upper bound exceeds the best overlap so far.
                value = 0.0
                for other in found[:count]:
                    if bound(box, other) > value:
                        value = max(value, overlap(box, other))
                rows.append((int(label), float((box[2] - box[0]) * (box[3] - box[1])), value))
    return rows


def bound(one, other):
    """Returns the upper bound of the overlap: the ratio of the areas, or 0 for disjoint boxes."""
    if one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]:
        return 0.0
    areas = sorted(float(box[2] - box[0]) * float(box[3] - box[1]) for box in (one, other))
    return areas[0] / areas[1]


def test_measures_equal_loops_over_boxes(data, stores, cells):
    quality = Quality(stores, data.source)
    rows = quality.rows()
    assert [(row["proposer"], row["proposals"]) for row in rows] == [(name, n) for name in stores for n in TABLE_COUNTS]
    for row in rows:
        found = best(data, cells[row["proposer"]], row["proposals"])
        values = np.array([value for _, _, value in found])
        assert row["recall@.5"] == pytest.approx(np.mean(values >= 0.5))
        assert row["recall@.7"] == pytest.approx(np.mean(values >= 0.7))
        recalls = [np.mean(values >= threshold / 100) for threshold in range(50, 100, 5)]
        assert row["average recall"] == pytest.approx(np.mean(recalls))
        assert row["ABO"] == pytest.approx(values.mean())
        of_classes = [np.mean([v for label, _, v in found if label == wanted]) for wanted in range(UNSEEN)]
        assert row["MABO"] == pytest.approx(np.mean(of_classes))
    assert quality.mean_count == {name: np.mean([len(each) for each in cells[name]]) for name in stores}


def test_breakdowns_equal_loops_over_boxes(data, stores, cells):
    quality = Quality(stores, data.source)
    found = {name: best(data, each, BREAKDOWN_COUNT) for name, each in cells.items()}
    by_class = {row["class"]: row for row in quality.class_rows()}
    assert set(by_class) == set(CLASSES) - {CLASSES[UNSEEN]}
    for name, rows in found.items():
        for label, class_name in enumerate(CLASSES[:UNSEEN]):
            values = [value for wanted, _, value in rows if wanted == label]
            assert by_class[class_name]["objects"] == len(values)
            assert by_class[class_name][f"ABO, {name}"] == pytest.approx(np.mean(values))
        limits = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, SIDE**2 + 1)}
        for row in quality.size_rows():
            low, high = limits[row["size"]]
            values = np.array([value for _, area, value in rows if low <= area < high])
            assert row["objects"] == len(values) > 0
            assert row[f"recall@.5, {name}"] == pytest.approx(np.mean(values >= 0.5))
            assert row[f"ABO, {name}"] == pytest.approx(values.mean())


def test_the_text_has_the_worst_of_many_classes_and_json_has_all(data, stores, monkeypatch):
    quality = Quality(stores, data.source)
    monkeypatch.setattr(tables, "CLASSES", 1)
    first = next(iter(stores))
    worst = min(quality.class_rows(), key=lambda row: row[f"ABO, {first}"])["class"]
    _, _, table = quality.to_text().partition(f"the 1 of {UNSEEN} classes with the lowest ABO, {first}")
    assert table.splitlines()[2].startswith(worst)
    assert len(quality.to_dict()["classes"]) == UNSEEN


def test_ground_truth_boxes_as_proposals_have_full_recall(tmp_path, data):
    own = [items.boxes_yxyx.astype(np.uint16) for items in data.objects]
    quality = Quality({"own": make_store(tmp_path / "own", data.source, own, data.files)}, data.source)
    for row in quality.rows():
        assert {row[key] for key in ("recall@.5", "recall@.7", "average recall", "ABO", "MABO")} == {1.0}


def test_each_file_is_read_once_for_all_stores(data, stores):
    Quality(stores, data.source)
    assert set(data.read) == {1}


def test_datasets_with_the_same_ids_share_a_store(tmp_path, data, cells, stores):
    other = [encoded(100 + number) for number in range(IMAGES)]
    make_store(tmp_path / "many", data.source, cells["few"], other)
    shared = ProposalStore(tmp_path / "many")
    assert Quality({"many": shared}, data.source).rows() == Quality({"many": stores["many"]}, data.source).rows()


def test_unreadable_images_are_skipped_for_all_stores(tmp_path, data, cells, stores):
    data.files[4] = data.files[4][:40]
    incomplete = [None if number == 4 else found for number, found in enumerate(cells["few"])]
    store = make_store(tmp_path / "incomplete", data.source, incomplete, data.files)
    quality = Quality({"many": stores["many"], "incomplete": store}, data.source)
    assert quality.skipped == ["4.png"]
    assert "4.png" in quality.to_text()
    del data.objects[4]
    for row in quality.rows():
        found = cells["many" if row["proposer"] == "many" else "few"]
        values = [value for *_, value in best(data, found[:4] + found[5:], row["proposals"])]
        assert row["ABO"] == pytest.approx(np.mean(values))


def test_an_image_damaged_after_it_was_proposed_is_skipped(data, stores):
    data.files[4] = data.files[4][:40]
    assert Quality(stores, data.source).skipped == ["4.png"]


def test_missing_and_outdated_images_are_named(tmp_path, data, cells):
    incomplete = [None if number in (2, 5) else found for number, found in enumerate(cells["few"])]
    store = make_store(tmp_path / "incomplete", data.source, incomplete, data.files)
    with pytest.raises(
        UserError,
        match=rf"incomplete: no proposals, .* for 2 of the {IMAGES} images of synthetic; .* 2\.png",
    ):
        Quality({"few": store}, data.source)
    store = make_store(tmp_path / "old", data.source, cells["few"], data.files)
    changed = Data()
    changed.files[7] = encoded(99)
    with pytest.raises(UserError, match=r"for 1 of .* 7\.png\. Run tfeff\.propose"):
        Quality({"few": store}, changed.source)


def test_a_dataset_without_objects_is_rejected(data, stores):
    for number, items in enumerate(data.objects):
        data.objects[number] = Objects(items.boxes_yxyx, items.labels, items.difficult, np.ones(len(items), bool))
    with pytest.raises(UserError, match="synthetic: no objects"):
        Quality(stores, data.source)


def test_saved_json_has_the_same_numbers(tmp_path, data, stores):
    quality = Quality(stores, data.source)
    written = quality.save(tmp_path / "out" / "deep")
    assert all(path.stat().st_size for path in written)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    record = json.loads((tmp_path / "out/deep/proposals.json").read_text(), parse_constant=refuse)
    assert record == quality.to_dict()
    rows = {(row["proposer"], row["proposals"]): row for row in quality.rows()}
    for name, proposer in record["proposers"].items():
        for count in TABLE_COUNTS:
            assert proposer["abo"][record["counts"].index(count)] == rows[name, count]["ABO"]
            assert proposer["recall"]["0.7"][record["counts"].index(count)] == rows[name, count]["recall@.7"]


def test_images_that_vanished_are_skipped(data, tmp_path, monkeypatch):
    cells = [boxes(np.random.default_rng(0), 5)] * IMAGES
    store = make_store(tmp_path, data.source, [None, *cells[1:]], data.files)
    whole = data.encoded

    def vanished(index):
        if index == 0:
            raise FileNotFoundError("0.png")
        return whole(index)

    images = DrawnImages(IMAGES, vanished, "synthetic")
    assert Quality({"a": store}, dataclasses.replace(data.source, images=images)).skipped == ["0.png"]
