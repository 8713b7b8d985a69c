import os
import signal
import subprocess
import sys
import time

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
    with pytest.raises(UserError, match=r"c\.npz"):
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
