import os
import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.verbs import ROOT
from tfeff.data.dataset import Dataset
from tfeff.data.images import recorded
from tfeff.data.images.storage import DrawnImages, EncodedImages
from tfeff.data.sources import catalog, packing
from tfeff.data.sources.manifest import MANIFEST, Manifest
from tfeff.data.sources.source import Options, Source
from tfeff.errors import UserError

PACK = """
import resource, signal, sys
from tfeff.data.sources import packing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
source = packing.open_source(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
try:
    packing.pack(source, sys.argv[2])
except OSError as error:
    print(error)
"""


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_same_images_give_the_same_files(image_folder, tmp_path):
    root = image_folder({"train/a": 5, "train/b": 4, "test/a": 3})
    source = packing.open_source(f"folder:{root}")
    reports = []
    for name in ("one", "other"):
        packed = packing.pack(
            source, tmp_path / name, shard_bytes=2000, progress=lambda *counts: reports.append(counts)
        )
    assert contents(tmp_path / "one") == contents(tmp_path / "other")
    assert (packed.images, packed.shards, packed.undecodable) == (
        12,
        len(list(tmp_path.glob("one/*.array_record"))),
        {},
    )
    assert packed.shards > 2
    assert packed.size == sum(path.stat().st_size for path in tmp_path.glob("one/*.array_record"))
    assert (
        reports
        == [
            *(("finding equal images", done, 24) for done in (0, 24)),
            *(("packing", done, 12) for done in (0, 12)),
        ]
        * 2
    )


def test_records_can_be_packed_again(image_folder, tmp_path):
    """With another size of shards, for example."""
    root = image_folder({"train/a": 5, "train/b": 4})
    packing.pack(packing.open_source(f"folder:{root}"), tmp_path / "one")
    packing.pack(packing.open_source(f"records:{tmp_path / 'one'}"), tmp_path / "two", shard_bytes=1000)
    one, two = (catalog.open_labels(f"records:{tmp_path / name}").load("train") for name in ("one", "two"))
    assert one.ids == two.ids
    assert one.fingerprint == two.fingerprint
    assert [one.encoded(n) for n in range(9)] == [two.encoded(n) for n in range(9)]


def test_a_slow_image_does_not_stop_the_reading_of_later_ones(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    later, waited = threading.Event(), list[bool]()

    def draw(index: int) -> bytes:
        if index == 63:
            waited.append(later.wait(timeout=10))
        if index == 64:
            later.set()
        return b"%d" % index

    class Drawn(Source):
        splits = ("train",)
        drawn = True

        def _load(self, split: str) -> Dataset:
            images = DrawnImages(70, draw, "1")
            return Dataset(split, ("a",), list(map(str, range(70))), images, labels=np.zeros(70, np.int64))

    packing.pack(Drawn("made", Options()), tmp_path / "out")
    assert waited == [True]
    packed = catalog.open_labels(f"records:{tmp_path / 'out'}").load("all")
    assert [packed.encoded(index) for index in range(70)] == [b"%d" % index for index in range(70)]


def test_an_existing_directory_is_kept_unless_it_may_be_overwritten(image_folder, tmp_path):
    source = packing.open_source(f"folder:{image_folder({'train/a': 2, 'train/b': 2})}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(UserError, match=f"exists and is not an earlier export of this kind [(]no {MANIFEST}[)]"):
        packing.pack(source, tmp_path / "mine", overwrite=True)
    assert contents(tmp_path / "mine") == {"notes.txt": b"keep"}
    packing.pack(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="--overwrite"):
        packing.pack(source, tmp_path / "out")
    packing.pack(source, tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before


def test_corrupt_images_are_kept_and_listed(image_folder, tmp_path):
    root = image_folder({"train/a": 3, "train/b": 3})
    broken = root / "train/b/001.png"
    broken.write_bytes(broken.read_bytes()[:100])
    packed = packing.pack(packing.open_source(f"folder:{root}"), tmp_path / "out")
    assert list(packed.undecodable) == [str(broken)]
    assert "a corrupt image" in packed.undecodable[str(broken)]
    assert Manifest.read(tmp_path / "out").undecodable.tolist() == [4]
    assert catalog.open_labels(f"records:{tmp_path / 'out'}").load("train").encoded(4) == broken.read_bytes()


def in_splits(**contents: Sequence[bytes]) -> Source:
    """Returns a source whose splits have images in memory, with ids that all splits share."""

    class InMemory(Source):
        splits = tuple(contents)

        def _load(self, split: str) -> Dataset:
            images = [image for part in (self.splits if split == "all" else (split,)) for image in contents[part]]
            ids = [str(number) for part in contents.values() for number in range(len(part))]
            labels = np.zeros(len(images), np.int64)
            return Dataset(split, ("a",), ids[: len(images)], EncodedImages(images, "1"), labels=labels)

    return InMemory("made", Options())


def test_different_images_with_the_same_id_are_each_written_once(tmp_path):
    packed = packing.pack(in_splits(train=[b"one", b"two"], val=[b"other"], test=[b"one"]), tmp_path / "out")
    splits = Manifest.read(tmp_path / "out").splits
    assert {name: each.records.tolist() for name, each in splits.items()} == {
        "train": [0, 1],
        "val": [2],
        "test": [0],
        "all": [0, 1, 2, 0],
    }
    assert (packed.images, list(packed.undecodable)) == (3, ["0", "1", "0 (val)"])


def test_a_file_that_cannot_be_read_stops(image_folder, tmp_path):
    root = image_folder({"train/a": 3, "train/b": 3})
    source = packing.open_source(f"folder:{root}")
    source.load("train")
    (root / "train/b/001.png").unlink()
    with pytest.raises(UserError, match=r"001.png: cannot be read \(No such file or directory\); restore it"):
        packing.pack(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_behind(image_folder, tmp_path):
    root = image_folder({"train/a": 10, "train/b": 10})
    arguments = [f"folder:{root}", str(tmp_path / "there" / "out")]
    done = subprocess.run([sys.executable, "-c", PACK, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert "No space left on device" in done.stdout, done
    assert "images-00000.array_record" in done.stdout
    assert not [*(tmp_path / "there").iterdir()]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_the_extra_is_named(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "find_spec", lambda name: None)
    source = packing.open_source(f"folder:{image_folder({'train/a': 2, 'train/b': 2})}")
    with pytest.raises(UserError, match=r"needs the extra records: pip install tfeff\[records\]"):
        packing.pack(source, tmp_path / "out")


def test_what_the_disk_has_changed_is_noticed(image_folder, tmp_path, monkeypatch):
    """What was written is read back."""
    source = packing.open_source(f"folder:{image_folder({'train/a': 2, 'train/b': 2})}")

    def damaged(path, lengths):
        content = bytearray(path.read_bytes())
        content[500] ^= 1
        path.write_bytes(content)
        return recorded.places(path, lengths)

    monkeypatch.setattr(packing, "places", damaged)
    with pytest.raises(UserError, match=r"images-00000.array_record: cannot be read as it was written; check the disk"):
        packing.pack(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_crops_are_packed_as_their_source():
    with pytest.raises(UserError, match="pack voc:pets, and name the crops crops:records:DIRECTORY"):
        packing.open_source("crops:voc:pets")


def test_splits_of_any_name_are_packed(image_folder, tmp_path):
    root = image_folder({"a": 4, "b": 4})
    rows = [f"{path},{path.parent.name},{'first' if int(path.stem) < 2 else 'second'}" for path in root.rglob("*.png")]
    (tmp_path / "all.csv").write_text("\n".join(["image,label,split", *sorted(rows)]))
    packing.pack(packing.open_source(f"csv:{tmp_path / 'all.csv'}"), tmp_path / "out")
    source = catalog.open_labels(f"records:{tmp_path / 'out'}")
    assert set(source.splits) == {"first", "second"}
    assert all(not source.load(split).defects.counts for split in source.splits)
