from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfeff.data.dataset import Dataset, Objects
from tfeff.data.defects import Defects
from tfeff.data.images.recorded import Shard
from tfeff.data.images.storage import EncodedImages
from tfeff.data.sources.manifest import INDEX, MANIFEST, Manifest, Split
from tfeff.errors import UserError

NAMES = ["a/ü 1.jpg", "a/line\nbreak", "undecodable-\udce9.jpg"]


def boxes(count: int) -> Objects:
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, 50, (count, 4)).astype(np.float32)
    return Objects(corners, np.arange(count, dtype=np.int32), rng.random(count) < 0.5, rng.random(count) < 0.5)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "images-0").write_bytes(bytes(1000))
    defects = Defects()
    defects.add("box without area", "b.xml, line 3", lost="objects", count=2)
    dataset = Dataset(
        "here/train",
        ("cat", "dog", "é"),
        NAMES,
        EncodedImages([b"", b"", b""], "1"),
        objects=[boxes(2), boxes(0), boxes(3)],
        defects=defects,
        notes=("one", "two"),
    )
    return Manifest(
        source="voc:here",
        class_names=dataset.class_names,
        class_ids=[7, "x", 2.5],
        has_objects=True,
        drawn=False,
        further_classes=["é"],
        shards=[Shard(tmp_path / "images-0", 1000, 3)],
        splits={name: Split.of(dataset, dataset.ids, np.array([2, 0, 1])) for name in ("train", "all")},
        places=np.array([[64, 5], [90, 1], [200, 7]]),
        digests=np.arange(48, dtype=np.uint8).reshape(3, 16),
        origins=np.arange(24, dtype=np.uint8).reshape(3, 8),
        sizes=np.array([[1, 2], [3, 4], [0, 0]], np.int32),
        undecodable=np.array([2]),
    )


def test_what_is_written_is_read(manifest: Manifest, tmp_path: Path) -> None:
    manifest.write(tmp_path)
    found = Manifest.read(tmp_path)
    for key in ("source", "class_names", "class_ids", "has_objects", "drawn", "further_classes", "shards"):
        assert getattr(found, key) == getattr(manifest, key), key
    for key in ("places", "digests", "origins", "sizes", "undecodable"):
        np.testing.assert_array_equal(getattr(found, key), getattr(manifest, key))
        assert getattr(found, key).dtype == getattr(manifest, key).dtype
    split = found.splits["train"]
    assert found.splits["all"].ids() == NAMES
    assert split.ids() == NAMES
    assert split.records.tolist() == [2, 0, 1]
    assert not len(split.labels)
    assert (split.notes, split.sized, split.defects) == (("one", "two"), False, manifest.splits["train"].defects)
    for one, other in zip(split.objects(), [boxes(2), boxes(0), boxes(3)], strict=True):
        for key in ("boxes_yxyx", "labels", "difficult", "crowd"):
            np.testing.assert_array_equal(getattr(one, key), getattr(other, key))


def test_the_index_needs_no_keyword_of_newer_numpy(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy 2.0 and 2.1 take every keyword for an array."""
    savez, given = np.savez, dict[str, object]()
    monkeypatch.setattr(np, "savez", lambda file, **arrays: given.update(arrays) or savez(file, **arrays))
    manifest.write(tmp_path)
    assert given
    assert all(isinstance(each, np.ndarray) for each in given.values())


def test_areas_are_kept_where_they_are_stated(tmp_path: Path, manifest: Manifest) -> None:
    areas = [None, None, np.array([1.5, np.nan, 1e5])]
    objects = [replace(boxes(count), areas=each) for count, each in zip((2, 0, 3), areas, strict=True)]
    dataset = Dataset("here", ("a", "b", "c"), NAMES, EncodedImages([b"", b"", b""], "1"), objects=objects)
    split = Split.of(dataset, NAMES, np.arange(3))
    replace(manifest, splits={"all": split}).write(tmp_path)
    first, empty, last = Manifest.read(tmp_path).splits["all"].objects()
    assert first.areas is not None
    assert last.areas is not None
    assert np.isnan(first.areas).all()
    assert len(empty) == 0
    np.testing.assert_array_equal(last.areas, [1.5, np.nan, 1e5])
    short = replace(split, columns={**split.columns, "areas": np.zeros(4)})
    replace(manifest, splits={"all": short}).write(tmp_path)
    with pytest.raises(UserError, match="the split all"):
        Manifest.read(tmp_path)


def test_a_split_without_any_object(tmp_path: Path) -> None:
    dataset = Dataset("here", ("cat",), ["1"], EncodedImages([b""], "1"), objects=[boxes(0)])
    assert [len(each) for each in Split.of(dataset, ["1"], np.array([0])).objects()] == [0]


@pytest.mark.parametrize("name", [MANIFEST, INDEX])
def test_every_truncation_is_noticed(manifest: Manifest, tmp_path: Path, name: str) -> None:
    manifest.write(tmp_path)
    content = (tmp_path / name).read_bytes()
    for length in range(0, len(content) - 1, 37):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(UserError, match=name):
            Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("split", "values"),
    [
        ("records", np.array([2, 0, 3])),
        ("records", np.array([2, -1, 0])),
        ("records", np.array([0])),
        ("objects", np.array([2, 0, 4])),
        ("objects", np.array([6, -1, 0])),
        ("object_labels", np.array([0, 1, 2, 3, 0], np.int32)),
        ("object_labels", np.zeros(5)),
        ("boxes_yxyx", np.zeros((5, 3), np.float32)),
        ("records", np.array([2.0, 0, 1])),
        ("ids", np.frombuffer(b"one\0", np.uint8)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(manifest: Manifest, tmp_path: Path, split: str, values: np.ndarray) -> None:
    train = manifest.splits["train"]
    broken = replace(train, columns={**train.columns, split: values})
    replace(manifest, splits={**manifest.splits, "train": broken}).write(tmp_path)
    with pytest.raises(UserError, match=r"does not describe records .*the split train"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"digests": np.zeros((2, 16), np.uint8)}, {"sizes": np.zeros((3, 3))}, {"places": np.zeros((2, 2))}]
)
def test_records_without_a_row_are_refused(manifest: Manifest, tmp_path: Path, changes: Mapping[str, object]) -> None:
    replace(manifest, **changes).write(tmp_path)
    with pytest.raises(UserError, match=r"does not describe records .*3 records"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"places": np.array([[64, 5], [90, 1], [200, 2**40]])},
        {"places": np.array([[64, 5], [90, 1], [2**63 - 1, 2**63 - 1]])},
        {"places": np.array([[64, 5], [90, 1], [200, 801]])},
        {"places": np.array([[64, 5], [90, 1], [200, 7.0]])},
        {"digests": np.zeros((3, 16), np.int64)},
        {"undecodable": np.array([[2]])},
    ],
)
def test_places_beyond_a_file_and_other_types_are_refused(
    manifest: Manifest, tmp_path: Path, changes: Mapping[str, object]
) -> None:
    replace(manifest, **changes).write(tmp_path)
    with pytest.raises(UserError, match=r"does not describe records .*(places of records|types of arrays)"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("name", ["../images-0", "/etc/hostname", "a/images-0"])
def test_only_files_of_the_directory_are_read(manifest: Manifest, tmp_path: Path, name: str) -> None:
    manifest.write(tmp_path)
    text = (tmp_path / MANIFEST).read_text().replace('"images-0"', f'"{name}"')
    (tmp_path / MANIFEST).write_text("\n".join(line for line in text.splitlines() if "crc32" not in line))
    with pytest.raises(UserError, match="does not describe records"):
        Manifest.read(tmp_path)
