"""Memory for decoded images, which numpy and TensorFlow share without copying it."""

import mmap
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # imported where it is used: images can be read without TensorFlow, which takes seconds to import
    import tensorflow as tf

_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)  # Python names it from 3.13 on


def allocate(size: int) -> np.ndarray:
    """Returns zeros, uint8 [size], at the start of a memory page; unused pages take no memory."""
    return np.frombuffer(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)


def aligned(array: np.ndarray) -> np.ndarray:
    """Returns an array that starts at a page: the same one if it does, else a copy."""
    if array.flags.carray and array.ctypes.data % mmap.PAGESIZE == 0:
        return array
    copy = allocate(array.nbytes).view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


def mapped(path: Path) -> np.ndarray:
    """Returns the bytes of a file, uint8 [bytes]; the operating system loads pages on use and may drop them again.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is empty.
    """
    # DLPack exports no read-only arrays; what is written would stay private. Without _NO_RESERVE, Linux refuses to map
    # files that are larger than its memory like this.
    with path.open("rb") as file:
        flags, access = mmap.MAP_PRIVATE | _NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        return np.frombuffer(mmap.mmap(file.fileno(), 0, flags=flags, prot=access), np.uint8)


def shared(array: np.ndarray) -> "tf.Tensor":
    """Returns a tensor in host memory that reads the memory of an array, which starts at a page or at its offset 0.

    `tf.constant` would copy the array, and so would `ImmutableConst` with oneDNN, which copies what is memory-mapped.
    """
    import tensorflow as tf

    with tf.init_scope():
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def options() -> "tf.data.Options":
    """Returns options of pipelines that read shared tensors.

    tf.data's own optimizations would rewrite a pipeline as a graph that contains copies of these.
    """
    import tensorflow as tf

    chosen = tf.data.Options()
    chosen.autotune.enabled = False
    chosen.experimental_optimization.apply_default_optimizations = False
    # Elements are made in parallel; threads inside one operation would only compete with the network's.
    chosen.threading.max_intra_op_parallelism = 1
    return chosen
