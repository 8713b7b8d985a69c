"""Reads weights from PyTorch's legacy files (`torch.save` before version 1.6), without PyTorch.

Such a file is a sequence of pickles: a magic number, the version, the byte order, the state dict, and the keys of its
storages. The storages' contents follow, each after its length. Unpickling can run code, so only what a state dict
consists of is admitted: ordered dictionaries and tensors.
"""

import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfeff.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
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
        path: a legacy file with a state dict.

    Raises:
        UserError: the file does not exist, is truncated or not such a file, or contains anything but tensors.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read ({error.strerror})") from error
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"weights {path}: not a state dict in PyTorch's legacy format, or damaged ({error})") from error


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
        """The storage of a reference, without its contents, which follow the pickles."""
        kind, dtype, key, _, count, view = reference
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"unknown reference {kind}")
        return self.storages.setdefault(key, np.zeros(count, dtype))


def _tensor(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    """A view of a storage."""
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if min(strides, default=0) < 0 or (min(shape, default=1) > 0 and not 0 <= offset <= last < len(storage)):
        raise ValueError("a tensor reaches beyond its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)
