"""Reads weights from PyTorch's files, without PyTorch.

Since version 1.6, `torch.save` writes a zip archive with one pickle and a file for each storage. Before, a file was a
sequence of pickles: a magic number, the version, the byte order, the state dict, and the keys of its storages; the
storages' contents follow, each after its length. Unpickling can run code, so only what a state dict consists of is
admitted: ordered dictionaries and tensors.
"""

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfeff.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_DAMAGE = (EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError)
_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name.

    Args:
        path: a file with a state dict.

    Raises:
        UserError: the file does not exist, is truncated or not such a file, or contains anything but tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_archive(archive)
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read ({error.strerror})") from error
    except (*_DAMAGE, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(f"weights {path}: not a state dict of PyTorch, or damaged ({error})") from error


def _read_archive(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    (pickled,) = (name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
    folder = pickled.removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("unknown byte order")
    unpickler = _Unpickler(io.BytesIO(archive.read(pickled)))
    state = unpickler.load()
    for key, storage in unpickler.storages.items():
        contents = archive.read(f"{folder}data/{key}")
        storage[:] = np.frombuffer(contents, storage.dtype, len(storage))
    return {name: array for name, array in state.items() if isinstance(array, np.ndarray)}


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    magic, version, system = (_Unpickler(file).load() for _ in range(3))
    if (magic, version) != (_MAGIC, _VERSION) or not system["little_endian"]:
        raise ValueError("unknown magic number, version or byte order")
    unpickler = _Unpickler(file)
    state = unpickler.load()
    keys = _Unpickler(file).load()
    if set(keys) != set(unpickler.storages):
        raise ValueError("storages without contents")
    for key in keys:
        storage = unpickler.storages[key]
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        if count != len(storage):
            raise ValueError(f"storage {key} has {count} elements instead of {len(storage)}")
        contents = file.read(storage.nbytes)
        storage[:] = np.frombuffer(contents, storage.dtype, count)
    return {name: array for name, array in state.items() if isinstance(array, np.ndarray)}


class _Unpickler(pickle.Unpickler):
    """Admits ordered dictionaries and tensors."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages = dict[str, np.ndarray]()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a state dict")

    def persistent_load(self, reference: Any) -> np.ndarray:
        """The storage of a reference, without its contents, which are elsewhere."""
        kind, dtype, key, _, count, *view = reference
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"unknown reference {kind}")
        return self.storages.setdefault(key, np.zeros(count, dtype))


def _tensor(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    """A view of a storage."""
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if min(strides, default=0) < 0 or (min(shape, default=1) > 0 and not 0 <= offset <= last < len(storage)):
        raise ValueError("a tensor reaches beyond its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)
