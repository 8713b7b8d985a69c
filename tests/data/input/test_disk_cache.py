import errno
import multiprocessing
import os
import resource
import signal
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from tfeff import checked
from tfeff.data.images import pixels
from tfeff.data.input.disk_cache import DiskCache
from tfeff.errors import UserError

LAYOUT = np.array([[0, 1, 2], [6, 2, 1], [12, 3, 1]])
SIZE = 21
"""Three images with three channels."""


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "caches" / "one")


def fill(cache, value=7):
    with cache.locked(), cache.filling(LAYOUT, SIZE) as (memory, kept):
        memory[:] = value + np.arange(SIZE)
        kept["note"] = ["a", value]


def test_another_process_finds_a_filled_cache(cache):
    assert cache.opened() is None
    fill(cache)
    stored = DiskCache(cache.folder).opened()
    assert stored.note == ["a", 7]
    np.testing.assert_array_equal(stored.pixels, np.arange(7, 7 + SIZE))
    np.testing.assert_array_equal(stored.layout, LAYOUT)
    assert stored.checksums[1] == zlib.crc32(bytes(range(13, 19)))
    stored.check(np.array([2, 0, 2]))
    np.testing.assert_array_equal(stored.unread, [False, True, False])


def test_a_failed_fill_leaves_nothing(cache):
    def interrupted():
        with cache.locked(), cache.filling(LAYOUT, SIZE) as (memory, _):
            memory[:2] = 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert cache.opened() is None
    assert [path.name for path in cache.folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("damage", ["truncate", "no pixels", "no table", "table", "no index", "bad index", "index"])
def test_a_damaged_cache_is_rebuilt(cache, damage, caplog):
    fill(cache)
    data, table, index = (cache.folder / name for name in ("images.uint8", "images.int64", "index.json"))
    if damage == "truncate":
        data.write_bytes(data.read_bytes()[:-1])
    elif damage == "table":
        content = bytearray(table.read_bytes())
        content[9] ^= 1
        table.write_bytes(content)
    elif damage == "bad index":
        index.write_text("{")
    elif damage == "index":
        checked.write_json(index, checked.read_json(index, "") | {"table_crc32": 5})
    else:
        {"no pixels": data, "no table": table, "no index": index}[damage].unlink()
    assert cache.opened() is None
    assert ("is damaged and will be rebuilt" in caplog.text) == (damage != "no index")
    fill(cache, 9)
    assert cache.opened().note == ["a", 9]


@pytest.mark.parametrize(("byte", "image"), [(0, 0), (5, 0), (6, 1), (11, 1), (12, 2), (20, 2)])
def test_a_changed_image_is_found_when_it_is_read(cache, byte, image):
    fill(cache)
    data = cache.folder / "images.uint8"
    content = bytearray(data.read_bytes())
    content[byte] ^= 1
    data.write_bytes(content)
    stored = cache.opened()
    stored.check(np.delete(np.arange(3), image))
    for _ in range(2):
        with pytest.raises(UserError, match=rf"image {image} has changed .* Rerun the same command"):
            stored.check(np.arange(3))
    assert cache.opened() is None
    fill(cache, 9)
    cache.opened().check(np.arange(3))


def test_a_process_that_reads_damaged_images_leaves_the_rebuilt_ones_alone(cache):
    fill(cache)
    data = cache.folder / "images.uint8"
    data.write_bytes(bytes(SIZE))
    early, other = cache.opened(), cache.opened()
    with pytest.raises(UserError):
        other.check(np.arange(3))
    fill(cache, 9)
    with pytest.raises(UserError, match="image 0 has changed"):
        early.check(np.arange(3))
    cache.opened().check(np.arange(3))


def test_a_failing_disk_is_no_damage(cache, monkeypatch, caplog):
    fill(cache)

    def fails(path):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(pixels, "mapped", fails)
        with pytest.raises(UserError, match=r"the decoded images cannot be read: .*Input/output error"):
            cache.opened()
    assert cache.opened().note == ["a", 7]
    assert not caplog.text


def test_a_cache_that_is_filled_while_it_is_opened(cache, monkeypatch):
    fill(cache)
    mapped, fillings = pixels.mapped, iter([9])

    def filled_in_between(path):
        for value in fillings:
            (cache.folder / "index.json").unlink()
            fill(cache, value)
        return mapped(path)

    monkeypatch.setattr(pixels, "mapped", filled_in_between)
    stored = cache.opened()
    assert stored.note == ["a", 9]
    stored.check(np.arange(3))


def test_images_of_a_cache_that_is_rebuilt_can_still_be_read(cache):
    fill(cache)
    stored = cache.opened()
    (cache.folder / "index.json").unlink()
    fill(cache, 9)
    np.testing.assert_array_equal(stored.pixels, np.arange(7, 7 + SIZE))
    stored.check(np.arange(3))


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have imported this file once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def slow(cache, filled, started):
    """Fills a cache, unless another process has, not before all have started."""
    started.wait()
    with cache.locked():
        if cache.opened() is None:
            with cache.filling(LAYOUT, SIZE) as (memory, kept):
                time.sleep(0.2)
                memory[:] = 1
                kept["note"] = os.getpid()
            filled.put(os.getpid())


def test_one_process_fills_the_cache_and_others_wait(cache, processes):
    filled = processes.Queue()
    started = processes.Barrier(3)
    three = [processes.Process(target=slow, args=(cache, filled, started)) for _ in range(3)]
    for process in three:
        process.start()
    for process in three:
        process.join()
        assert process.exitcode == 0
    assert filled.get(timeout=10) == cache.opened().note
    assert filled.empty()


def killed_while_filling(cache):
    with cache.locked(), cache.filling(LAYOUT, SIZE) as (memory, _):
        memory[:2] = 1
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_cache_of_a_killed_process_is_filled_by_the_next(cache, processes):
    process = processes.Process(target=killed_while_filling, args=(cache,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (cache.folder / "images.uint8").stat().st_size == SIZE
    assert cache.opened() is None
    fill(cache)
    assert cache.opened().note == ["a", 7]


@pytest.mark.parametrize("reserving", [True, False], ids=["reserved", "written"])
def test_a_cache_that_does_not_fit_is_refused_before_anything_is_read(tmp_path: Path, monkeypatch, reserving):
    """Without the reservation, the first page beyond the free space ends the process by SIGBUS."""
    if not reserving:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    cache = DiskCache(tmp_path / "one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, hard))
    try:
        with (
            pytest.raises(UserError, match=r"needs 40\.0 MB, which does not fit"),
            cache.locked(),
            cache.filling(np.array([[0, 4000, 10_000]]), 40_000_000),
        ):
            pytest.fail("it was opened")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in cache.folder.iterdir()] == [".lock"]
