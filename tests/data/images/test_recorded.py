from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from tfeff.data.images import recorded
from tfeff.data.images.recorded import WRITER_OPTIONS, RecordedImages, Shard
from tfeff.data.images.storage import content_digest
from tfeff.errors import UserError

COUNTS = (1, 40, 7)


@pytest.fixture
def contents() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [rng.bytes(int(length)) for length in rng.integers(1, 200_000, sum(COUNTS))]


@pytest.fixture
def shards(contents: list[bytes], tmp_path: Path) -> list[Shard]:
    made, rest = list[Shard](), iter(contents)
    for number, count in enumerate(COUNTS):
        path = tmp_path / f"{number}.array_record"
        writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
        for _ in range(count):
            writer.write(next(rest))
        writer.close()
        made.append(Shard(path, path.stat().st_size, count))
    return made


def storage(shards: list[Shard], contents: list[bytes]) -> RecordedImages:
    digests = np.frombuffer(b"".join(map(content_digest, contents)), np.uint8).reshape(-1, 16)
    sizes = np.array([(number, 2) for number in range(len(contents))], np.int32)
    return RecordedImages(shards, digests, sizes, np.array([3, 9]))


@pytest.mark.parametrize("most", [1, 256])
def test_any_order_and_several_threads(
    shards: list[Shard], contents: list[bytes], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Also with more files than are kept open."""
    monkeypatch.setattr(recorded, "_OPEN_FILES", most)
    images = storage(shards, contents)
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(len(contents)), 5)).tolist()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(images.encoded, order))
    assert found == [contents[index] for index in order]


def test_what_is_known_is_not_read(shards: list[Shard], contents: list[bytes]) -> None:
    images = storage(shards, contents)
    for shard in shards:
        shard.path.unlink()
    assert len(images) == len(contents)
    assert images.digest(5) == content_digest(contents[5])
    assert images.stamp(5) == content_digest(contents[5])[:8]
    assert images.size(5) == (5, 2)
    assert images.fingerprint(3)
    part = images.take(np.array([9, 1, 3, 0]))
    assert part.undecodable().tolist() == [0, 2]
    assert part.take(np.array([3, 2])).undecodable().tolist() == [1]
    with pytest.raises(UserError, match="not an image"):
        images.size(0)
    with pytest.raises(UserError, match=r"1.array_record: missing, incomplete or damaged"):
        images.encoded(5)


def test_the_fingerprint_belongs_to_the_contents(shards: list[Shard], contents: list[bytes]) -> None:
    same, other = storage(shards, contents), storage(shards, [*contents[:-1], b"another"])
    assert same.fingerprint(3) == storage(shards[::-1], contents).fingerprint(3) != other.fingerprint(3)


def test_a_file_that_is_cut_is_not_taken_for_an_empty_one(shards: list[Shard], contents: list[bytes]) -> None:
    images = storage(shards, contents)
    shards[1].path.write_bytes(shards[1].path.read_bytes()[:-1])
    assert images.encoded(0) == contents[0]
    with pytest.raises(UserError, match=r"1.array_record: missing, incomplete or damaged"):
        images.encoded(1)
