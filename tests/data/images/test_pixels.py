import ctypes
import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.images import pixels

SIZE = 200 << 20


def private_memory() -> int:
    """Bytes of this process that no file backs, without those that are free again."""
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def batch(images: tf.Tensor) -> tf.data.Dataset:
    rows = tf.data.Dataset.range(200).batch(10)
    return rows.map(lambda row: tf.gather(images, row), num_parallel_calls=2).with_options(pixels.options())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_tensors_and_pipelines_share_the_memory_of_an_array(tmp_path: Path, kind: str) -> None:
    for _ in batch(tf.zeros((200, 100), tf.uint8)):  # starts TensorFlow's threads
        pass
    before = private_memory()
    array = pixels.allocate(SIZE)
    array[:] = np.arange(SIZE) // (SIZE // 200)
    if kind == "disk":
        array.tofile(tmp_path / "pixels")
        array = pixels.mapped(tmp_path / "pixels")
    tensor = pixels.shared(array.reshape(200, -1))
    del array
    gc.collect()
    read = [chunk.numpy()[:, [0, -1]] for chunk in batch(tensor)]
    np.testing.assert_array_equal(np.concatenate(read), np.repeat(np.arange(200), 2).reshape(200, 2))
    kept = SIZE if kind == "memory" else 0
    # Batches of 10 MB are on their way.
    assert private_memory() - before < kept + SIZE // 2
    del tensor
    gc.collect()
    assert private_memory() - before < SIZE // 2


def test_a_tensor_sees_what_is_written_later() -> None:
    array = pixels.allocate(5)
    tensor = pixels.shared(array)
    array[3] = 7
    np.testing.assert_array_equal(tensor.numpy(), [0, 0, 0, 7, 0])


def test_a_mapped_file_is_never_changed(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_bytes(bytes([1, 2, 3]))
    array = pixels.mapped(tmp_path / "pixels")
    array[1] = 9
    del array
    gc.collect()
    assert (tmp_path / "pixels").read_bytes() == bytes([1, 2, 3])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reserves memory on Linux")
def test_a_file_can_be_larger_than_the_memory(tmp_path: Path) -> None:
    size = 3 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with (tmp_path / "pixels").open("wb") as file:
        file.truncate(size)  # takes no room
    array = pixels.mapped(tmp_path / "pixels")
    assert array.shape == (size,)
    assert array[-1] == 0
    assert pixels.shared(array).shape == (size,)


def test_arrays_that_start_elsewhere_are_copied() -> None:
    array = pixels.allocate(60).reshape(5, 4, 3)
    assert pixels.aligned(array) is array
    for other in (array[1:], array[:, ::-1], np.broadcast_to(array[0], (5, 4, 3))):
        copy = pixels.aligned(other)
        assert copy is not other
        np.testing.assert_array_equal(pixels.shared(copy).numpy(), other)
