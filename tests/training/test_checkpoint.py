import os
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from tests.thoroughness import only_thorough
from tfeff.errors import UserError
from tfeff.training import checkpoint


def test_round_trip_is_exact(tmp_path):
    arrays = {"a/b": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32), "n": np.array(7, np.int64)}
    checkpoint.save(tmp_path / "c.npz", arrays, {"step": 3, "name": "ü"})
    loaded, record = checkpoint.load(tmp_path / "c.npz")
    assert record == {"step": 3, "name": "ü"}
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -30])
def test_error_of_a_truncated_file(tmp_path, cut):
    path = tmp_path / "c.npz"
    checkpoint.save(path, {"a": np.arange(100)}, {})
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    with pytest.raises(checkpoint.DamagedError, match=r"c\.npz"):
        checkpoint.load(path)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_checkpoint_that_cannot_be_read_is_not_skipped(tmp_path, monkeypatch, error):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(1, {"a": np.array(1)}, {})
    checkpoints.save(2, {"a": np.array(2)}, {})

    def failing(*_):
        raise error

    monkeypatch.setattr(zipfile.ZipFile, "read", failing)
    skipped = []
    with pytest.raises(UserError, match=rf"step_000000002\.npz: cannot be read \({error.strerror}"):
        checkpoints.load_latest(skipped.append)
    assert skipped == []
    error = MemoryError()
    with pytest.raises(MemoryError):
        checkpoints.load_latest(skipped.append)


def test_no_more_than_one_array_is_held_twice(tmp_path):
    path = tmp_path / "c.npz"
    checkpoint.save(path, {f"a{number}": np.zeros(1 << 20, np.uint8) for number in range(20)}, {})
    tracemalloc.start()
    try:
        checkpoint.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 20 << 20 < peak < 24 << 20


def test_a_record_is_read_without_the_arrays(tmp_path):
    path = tmp_path / "c.npz"
    checkpoint.save(path, {f"a{number}": np.zeros(1 << 20, np.uint8) for number in range(4)}, {"step": 3})
    tracemalloc.start()
    try:
        assert checkpoint.load_record(path) == {"step": 3}
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("offset", "value"), [(10, 8), (8, 1), (24, 2**31), (42, 2**32 - 2)])
def test_a_damaged_directory_of_the_archive_is_damage(tmp_path, offset, value):
    """The method of compression, a bit for encryption, the size of an array, and its place."""
    path = tmp_path / "c.npz"
    checkpoint.save(path, {"a": np.arange(100)}, {})
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02") + offset
    content[place : place + 4] = (int.from_bytes(content[place : place + 4], "little") ^ value).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(checkpoint.DamagedError, match=r"c\.npz: damaged checkpoint"):
        checkpoint.load(path)


def test_old_checkpoints_and_temporary_files_are_deleted(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=2)
    assert checkpoints.latest() is None
    (tmp_path / ".step_000000001.npz.99.partial").write_bytes(b"half")
    for step in (5, 10, 100):
        checkpoints.save(step, {"a": np.array(step)}, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000000010.npz", "step_000000100.npz"]
    assert checkpoint.load(checkpoints.latest())[1]["step"] == 100


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    checkpoint.save(path, {"a": np.array(1)}, {})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {"a": np.array(2)}, {})
    assert checkpoint.load(path)[0]["a"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]


@only_thorough
def test_a_killed_writer_leaves_complete_files(tmp_path):
    script = (
        "import sys, pathlib, numpy as np\n"
        "from tfeff.training import checkpoint\n"
        "c = checkpoint.Checkpoints(pathlib.Path(sys.argv[1]))\n"
        "step = 0\n"
        "while True:\n"
        "    step += 1\n"
        "    c.save(step, {'a': np.full(300_000, step)}, {'step': step})\n"
    )
    for attempt in range(5):
        writer = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        while checkpoint.Checkpoints(tmp_path).latest() is None:
            time.sleep(0.01)
        time.sleep(0.02 + 0.013 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        for path in tmp_path.glob("step_*.npz"):
            arrays, record = checkpoint.load(path)
            assert np.all(arrays["a"] == record["step"])
