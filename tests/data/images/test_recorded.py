import errno
import pickle
import resource
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from tfeff.data.images import recorded
from tfeff.data.images.recorded import WRITER_OPTIONS, RecordedImages, Shard, places, read_record
from tfeff.data.images.storage import content_digest
from tfeff.errors import UserError

COUNTS = (1, 40, 7)


@pytest.fixture
def contents() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [rng.bytes(int(length)) for length in rng.integers(1, 200_000, sum(COUNTS))]


def write(path: Path, contents: Iterable[bytes]) -> None:
    writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
    for content in contents:
        writer.write(content)
    writer.close()


@pytest.fixture
def shards(contents: list[bytes], tmp_path: Path) -> list[Shard]:
    made, first = list[Shard](), 0
    for number, count in enumerate(COUNTS):
        path = tmp_path / f"{number}.array_record"
        write(path, contents[first : first + count])
        made.append(Shard(path, path.stat().st_size, count))
        first += count
    return made


def storage(shards: list[Shard], contents: list[bytes]) -> RecordedImages:
    lengths, firsts = list(map(len, contents)), np.cumsum(COUNTS) - COUNTS
    where = [
        places(shard.path, lengths[first : first + shard.records])
        for shard, first in zip(shards, firsts.tolist(), strict=True)
    ]
    digests = np.frombuffer(b"".join(map(content_digest, contents)), np.uint8).reshape(-1, 16)
    origins = np.arange(8 * len(contents)).astype(np.uint8).reshape(-1, 8)
    sizes = np.array([(number, 2) for number in range(len(contents))], np.int32)
    return RecordedImages(shards, np.concatenate(where), digests, origins, sizes, np.array([3, 9]))


@pytest.mark.parametrize("longest", [3, 70, 3000, 70_000, 65_512, 300_000])
def test_places_are_those_of_the_package(longest: int, tmp_path: Path) -> None:
    """For records of any length, also empty ones, across any number of blocks."""
    rng = np.random.default_rng(longest)
    written = [rng.bytes(int(length)) for length in rng.integers(0, longest, min(3000, 20 + 3_000_000 // longest))]
    write(tmp_path / "records", written)
    reader = ArrayRecordReader(str(tmp_path / "records"))
    found = places(tmp_path / "records", list(map(len, written)))
    with (tmp_path / "records").open("rb") as file:
        mine = [read_record(file, *place) for place in found.tolist()]
    assert mine == reader.read_all() == written


@pytest.mark.parametrize("options", ["group_size:2,uncompressed", "group_size:1,zstd:3", "group_size:4,transpose"])
def test_files_with_other_options_are_refused(options: str, tmp_path: Path) -> None:
    writer = ArrayRecordWriter(str(tmp_path / "records"), options)
    for _ in range(8):
        writer.write(bytes(1000))
    writer.close()
    with pytest.raises(ValueError, match="not an ArrayRecord file of uncompressed groups of one record"):
        places(tmp_path / "records", [1000] * 8)


@pytest.mark.parametrize("most", [1, 64])
def test_any_order_and_several_threads(
    shards: list[Shard], contents: list[bytes], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Also with more files than are kept open."""
    monkeypatch.setattr(recorded, "_OPEN_FILES", most)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4, 4))
    images = storage(shards, contents)
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(len(contents)), 5)).tolist()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(images.encoded, order))
    assert found == [contents[index] for index in order]


@pytest.mark.parametrize(("soft", "most"), [(256, 64), (4096, 1024), (resource.RLIM_INFINITY, 64)])
def test_as_many_files_stay_open_as_a_process_may_open(
    shards: list[Shard], contents: list[bytes], monkeypatch: pytest.MonkeyPatch, soft: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    assert storage(shards, contents)._opened.cache_info().maxsize == most


def test_a_replaced_file_is_noticed_when_it_is_opened_again(
    shards: list[Shard], contents: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "_OPEN_FILES", 1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4, 4))
    images, path = storage(shards, contents), shards[1].path
    assert [images.encoded(index) for index in (1, 2, 0)] == [contents[index] for index in (1, 2, 0)]
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    assert [images.encoded(index) for index in (1, 0)] == [contents[index] for index in (1, 0)]
    write(tmp_path / "other", [bytes(len(each)) for each in contents[1:41]])
    (tmp_path / "other").replace(path)
    with pytest.raises(UserError, match=r"1.array_record: damaged or replaced, at byte \d+ is another image"):
        images.encoded(1)


def test_a_copy_for_another_process_reads_the_same_images(shards: list[Shard], contents: list[bytes]) -> None:
    images = storage(shards, contents)
    assert images.encoded(7) == contents[7]
    copy = pickle.loads(pickle.dumps(images))
    assert [copy.encoded(index) for index in range(len(copy))] == contents
    assert copy.origin(5) == images.origin(5)
    assert copy.undecodable().tolist() == [3, 9]


def test_too_many_open_files_are_no_damage(
    shards: list[Shard], contents: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(recorded, "_open", fail)
    with pytest.raises(UserError, match=r"0.array_record: cannot be read \(Too many open files\); raise the limit"):
        storage(shards, contents).encoded(0)


def test_what_is_known_is_not_read(shards: list[Shard], contents: list[bytes]) -> None:
    images = storage(shards, contents)
    for shard in shards:
        shard.path.unlink()
    assert len(images) == len(contents)
    assert images.digest(5) == content_digest(contents[5])
    assert images.stamp(5) == content_digest(contents[5])[:8]
    assert images.origin(5) == bytes(range(40, 48))
    assert images.size(5) == (5, 2)
    assert images.fingerprint(3)
    part = images.take(np.array([9, 1, 3, 0]))
    assert part.undecodable().tolist() == [0, 2]
    assert part.take(np.array([3, 2])).undecodable().tolist() == [1]
    with pytest.raises(UserError, match="not an image"):
        images.size(0)
    with pytest.raises(UserError, match=r"1.array_record: cannot be read \(No such file or directory\); copy"):
        images.encoded(5)


def test_the_fingerprint_belongs_to_the_contents(shards: list[Shard], contents: list[bytes]) -> None:
    images, changed = storage(shards, contents), [*contents[:-1], bytes(len(contents[-1]))]
    assert images.fingerprint(3) == storage(shards, contents).fingerprint(3)
    assert images.fingerprint(3) != storage(shards, changed).fingerprint(3)


def test_another_or_a_cut_image_is_noticed(shards: list[Shard], contents: list[bytes]) -> None:
    whole = shards[1].path.read_bytes()
    for content in (whole[:1000], bytes(len(whole)), whole[8:] + bytes(8)):
        images = storage(shards, contents)
        shards[1].path.write_bytes(content)
        assert images.encoded(0) == contents[0]
        with pytest.raises(UserError, match=r"1.array_record: damaged or replaced, at byte \d+ is another image"):
            images.encoded(1)
        shards[1].path.write_bytes(whole)
