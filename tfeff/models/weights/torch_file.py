"""Reader of PyTorch's weights files, without PyTorch.

Since version 1.6, `torch.save` writes a zip archive with one pickle and a file for each storage. Before, a file was a
sequence of pickles: a magic number, the version, the byte order, the state dict, and the keys of its storages; the
storages' contents follow, each after its length. Unpickling can run code, so only what a state dict consists of is
admitted: ordered dictionaries and tensors. Unpickling only describes tensors. Arrays are made afterwards, from
contents whose length was checked, so no pickle can change or free the memory of an array. A few bytes can nest a tuple
so that hashing, comparing or formatting it takes forever, so values are used only after their type was checked.
"""

import collections
import io
import math
import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from tfeff.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_DAMAGE = (
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    pickle.PickleError,
    zipfile.BadZipFile,
)
_DTYPES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}
_MAX_DIMENSIONS = 32
_MAX_INTEGER = 2**63 - 1
_OPCODES = tuple(
    code[0]
    for code in (
        *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK),
        *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.BINGET, pickle.LONG_BINGET),
        *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BINFLOAT),
        *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.LONG4),
        *(pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINSTRING, pickle.SHORT_BINSTRING),
        *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
        *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT),
        *(pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE, pickle.BINPERSID),
    )
)
"""What a state dict is written with, from protocol 2 on, besides SETITEM, SETITEMS and BUILD."""


@dataclass(frozen=True)
class _Storage:
    """A storage: where its contents are, and what they are."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides are counted in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, contents: np.ndarray) -> np.ndarray:
        """Returns the tensor, from the contents of its storage."""
        if 0 in self.shape:
            return np.empty(self.shape, contents.dtype)
        steps = [stride * contents.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(contents[self.offset :], self.shape, steps, writeable=False)


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name.

    Args:
        path: a file with a state dict.

    Raises:
        UserError: the file does not exist, is truncated or not such a file, or contains anything but tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_archive(archive)
        # Mapped, because reads of a mapping end where the file does, whatever length a pickle states.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _read(content)
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read ({error.strerror})") from error
    except _DAMAGE as error:
        reason = str(error)[:200] or type(error).__name__
        raise UserError(f"weights {path}: not a state dict of PyTorch, or damaged ({reason})") from error


def _read_archive(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    names = archive.namelist()
    (pickled,) = (name for name in names if name.rpartition("/")[2] == "data.pkl")
    folder = pickled.removesuffix("data.pkl")
    if f"{folder}byteorder" in names and _stored(archive, f"{folder}byteorder") != b"little":
        raise ValueError("unknown byte order")
    unpickler = _Unpickler(io.BytesIO(_stored(archive, pickled)))
    state = unpickler.load()
    return _arrays(state, unpickler.storages, lambda storage: _stored(archive, f"{folder}data/{storage.key}"))


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """Returns a file of the archive. PyTorch does not compress, and a compressed file may be of any size."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.read(name)


def _read(file: Any) -> dict[str, np.ndarray]:
    magic, version, system = (_Unpickler(file).load() for _ in range(3))
    if (magic, version) != (_MAGIC, _VERSION) or not system["little_endian"]:
        raise ValueError("unknown magic number, version or byte order")
    unpickler = _Unpickler(file)
    state = unpickler.load()
    keys = _Unpickler(file).load()
    if not isinstance(keys, list) or any(type(key) is not str for key in keys):
        raise TypeError("no list of storages")
    if sorted(keys) != sorted(unpickler.storages):
        raise ValueError("storages without contents")
    contents = dict[str, bytes]()
    for key in keys:
        storage = unpickler.storages[key]
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        if count != storage.count:
            raise ValueError(f"storage {key} has {count} elements instead of {storage.count}")
        contents[key] = file.read(count * storage.dtype.itemsize)
    return _arrays(state, unpickler.storages, lambda storage: contents[storage.key])


def _arrays(state: Any, storages: dict[str, _Storage], contents: Callable[[_Storage], bytes]) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict, with the contents of their storages."""
    if not isinstance(state, dict):
        raise TypeError("no dictionary of tensors")
    tensors = {name: each for name, each in state.items() if isinstance(name, str) and isinstance(each, _Tensor)}
    needed = {each.storage.key for each in tensors.values()}
    filled = dict[str, np.ndarray]()
    for key in needed:
        storage, content = storages[key], contents(storages[key])
        if len(content) != storage.count * storage.dtype.itemsize:
            raise ValueError(f"storage {key} has {len(content)} bytes for {storage.count} elements")
        filled[key] = np.frombuffer(content, storage.dtype)
    return {name: each.array(filled[each.storage.key]) for name, each in tensors.items()}


class _Unpickler(pickle._Unpickler):
    """Unpickler that admits dictionaries whose keys are strings or integers, lists, and tensors."""

    dispatch: ClassVar[dict] = {code: pickle._Unpickler.dispatch[code] for code in _OPCODES}

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages = dict[str, _Storage]()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _ordered
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a state dict")

    def persistent_load(self, reference: Any) -> _Storage:
        """Returns the storage of a reference, without its contents, which are elsewhere."""
        kind, name, key, _, count, *view = reference
        if kind != "storage" or any(view) or any(type(each) is not str for each in (name, key)) or name not in _DTYPES:
            raise pickle.UnpicklingError("unknown reference")
        if type(count) is not int:
            raise TypeError("a storage without a number of elements")
        if not 0 <= count <= _MAX_INTEGER:
            raise ValueError(f"a storage of {count} elements")
        storage = _Storage(key, _DTYPES[name], count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key} is described twice")
        return storage

    def load_setitem(self) -> None:
        """Adds an item to a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()  # type: ignore[attr-defined]
        _add(self.stack[-1], [key, value])  # type: ignore[attr-defined]

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        """Adds items to a dictionary."""
        items = self.pop_mark()  # type: ignore[attr-defined]
        _add(self.stack[-1], items)  # type: ignore[attr-defined]

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_build(self) -> None:
        """Drops the attributes of a dictionary (`_metadata`, the modules' versions); nothing else may have a state."""
        self.stack.pop()  # type: ignore[attr-defined]
        if type(self.stack[-1]) is not collections.OrderedDict:  # type: ignore[attr-defined]
            raise pickle.UnpicklingError("an object with a state is not part of a state dict")

    dispatch[pickle.BUILD[0]] = load_build


def _add(target: Any, items: list[Any]) -> None:
    """Adds keys and values, in turn, to a dictionary."""
    if not isinstance(target, dict) or any(type(key) not in (str, int) for key in items[::2]):
        raise pickle.UnpicklingError("a key that is neither a string nor an integer is not part of a state dict")
    target.update(zip(items[::2], items[1::2], strict=True))


def _ordered(items: Any = ()) -> collections.OrderedDict[Any, Any]:
    """Returns an ordered dictionary. Python 2 pickles it with its items."""
    made = collections.OrderedDict[Any, Any]()
    for key, value in items:
        _add(made, [key, value])
    return made


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    """Returns a view of a storage."""
    if not isinstance(storage, _Storage) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError("a tensor without a storage, or of too many dimensions")
    if any(type(value) is not int for value in (offset, *shape, *strides)):
        raise TypeError("a tensor whose size is not an integer")
    if max((offset, *shape, *strides)) > _MAX_INTEGER:
        raise ValueError("a tensor reaches beyond its storage")
    if min((offset, *shape)) < 0:
        raise ValueError("a tensor of negative size")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    inside = 0 not in shape and last < storage.count and math.prod(shape) <= storage.count
    if min(strides, default=0) < 0 or not (inside or (0 in shape and offset <= storage.count)):
        raise ValueError("a tensor reaches beyond its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))
