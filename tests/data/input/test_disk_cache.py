import multiprocessing
import os
import resource
import signal

import numpy as np
import pytest

from tfeff.data.input.disk_cache import DiskCache
from tfeff.errors import UserError


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "caches" / "one", (4, 3))


def fill(cache, value=7):
    with cache.filling() as (array, kept):
        array[:] = value
        kept["note"] = ["a", value]


def test_another_process_finds_a_filled_cache(cache):
    assert cache.note() is None
    fill(cache)
    assert DiskCache(cache.folder, cache.shape).note() == ["a", 7]
    np.testing.assert_array_equal(np.fromfile(cache.array_path, np.uint8), np.full(12, 7))


def test_a_failed_fill_leaves_nothing(cache):
    def interrupted():
        with cache.filling() as (array, _):
            array[:2] = 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert cache.note() is None
    assert not list(cache.folder.parent.iterdir())


@pytest.mark.parametrize("damage", ["flip", "truncate", "no array", "no index", "bad index", "other shape"])
def test_damage_is_detected_and_removed(cache, damage):
    fill(cache)
    data, index = cache.array_path, cache.folder / "index.json"
    if damage == "flip":
        content = bytearray(data.read_bytes())
        content[5] ^= 1
        data.write_bytes(content)
    elif damage == "truncate":
        data.write_bytes(data.read_bytes()[:-1])
    elif damage == "no array":
        data.unlink()
    elif damage == "no index":
        index.unlink()
    elif damage == "bad index":
        index.write_text("{")
    else:
        cache = DiskCache(cache.folder, (3, 4))
    assert cache.note() is None
    assert not cache.folder.exists()
    fill(cache, 9)
    assert cache.note() == ["a", 9]


def test_the_first_of_two_processes_to_finish_wins(cache):
    with cache.filling() as (array, kept):
        array[:] = 1
        kept["note"] = "late"
        fill(cache, 2)
    assert cache.note() == ["a", 2]
    assert [path.name for path in cache.folder.parent.iterdir()] == ["one"]


def killed_while_filling(cache):
    with cache.filling() as (array, _):
        array[:2] = 1
        os.kill(os.getpid(), signal.SIGKILL)


def test_leftovers_of_a_killed_process_are_removed(cache):
    process = multiprocessing.get_context("spawn").Process(target=killed_while_filling, args=(cache,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (abandoned,) = cache.folder.parent.iterdir()
    assert cache.note() is None
    # That of a process that runs, and that of another machine, whose processes are not to be seen from here.
    others = [
        abandoned.with_name(abandoned.name.replace(f".{process.pid}.", f".{os.getppid()}.")),
        abandoned.with_name(f".one.elsewhere.{process.pid}.abc.partial"),
    ]
    for other in others:
        other.mkdir()
    fill(cache)
    assert set(cache.folder.parent.iterdir()) == {cache.folder, *others}
    assert cache.note() == ["a", 7]


@pytest.mark.parametrize("reserving", [True, False], ids=["reserved", "written"])
def test_a_cache_that_does_not_fit_is_refused_before_anything_is_read(tmp_path, monkeypatch, reserving):
    """Without the reservation, the first page beyond the free space ends the process by SIGBUS."""
    if not reserving:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    cache = DiskCache(tmp_path / "one", (40, 1_000_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, hard))
    try:
        with pytest.raises(UserError, match=r"needs 40\.0 MB, which does not fit"), cache.filling():
            pytest.fail("it was opened")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
