"""Files of PyTorch, written here without PyTorch."""

import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.models.weights.torch_file import read_state_dict

ARRAYS = {
    "conv.weight": np.arange(24, dtype="<f4").reshape(2, 3, 2, 2),
    "bn.bias": np.array([0.5, -1.0], "<f8"),
    "bn.num_batches_tracked": np.array(7, "<i8"),
}


class Rebuilt:
    """A tensor as PyTorch pickles it: a call of `torch._utils._rebuild_tensor_v2`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


class Reference:
    """A storage, which is pickled as a reference."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.parts if isinstance(obj, Reference) else None


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Just enough of PyTorch for pickling the names of its classes."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "DoubleStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*_: Any) -> None:
        """Only its name is pickled."""

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def storage(torch: types.ModuleType, array: np.ndarray, key: str) -> Reference:
    kind = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<i8": "LongStorage"}[array.dtype.str]
    return Reference("storage", getattr(torch, kind), key, "cpu", array.size, None)


def write(path: Path, state: Any, storages: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, state, sorted(storages)):
            Pickler(file, 2).dump(part)
        for key in sorted(storages):
            file.write(np.int64(storages[key].size).tobytes() + storages[key].tobytes())


@pytest.fixture
def file(torch: types.ModuleType, tmp_path: Path) -> Path:
    rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
    state = OrderedDict()
    for key, (name, array) in enumerate(ARRAYS.items()):
        strides = tuple(step // array.itemsize for step in array.strides)
        kept = storage(torch, array, str(key))
        state[name] = Rebuilt(rebuild, kept, 0, array.shape, strides, False, OrderedDict())
    transposed = storage(torch, ARRAYS["conv.weight"], "0")
    state["transposed"] = Rebuilt(rebuild, transposed, 4, (2, 2), (1, 2), False, OrderedDict())
    write(tmp_path / "weights.pth", state, {str(key): array for key, array in enumerate(ARRAYS.values())})
    return tmp_path / "weights.pth"


def archived(torch: types.ModuleType, path: Path, byteorder: bytes | None = b"little") -> Path:
    """Returns the format since PyTorch 1.6; the byte order has been in it since 2.1."""
    rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
    state = OrderedDict()
    for key, (name, array) in enumerate(ARRAYS.items()):
        kept = Reference(*storage(torch, array, str(key)).parts[:-1])
        strides = tuple(step // array.itemsize for step in array.strides)
        state[name] = Rebuilt(rebuild, kept, 0, array.shape, strides, False, OrderedDict())
    pickled = io.BytesIO()
    Pickler(pickled, 2).dump(state)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", pickled.getvalue())
        if byteorder is not None:
            archive.writestr("weights/byteorder", byteorder)
        for key, array in enumerate(ARRAYS.values()):
            archive.writestr(f"weights/data/{key}", array.tobytes())
    return path


@pytest.mark.parametrize("byteorder", [None, b"little"])
def test_zip_archives_are_read(torch: types.ModuleType, tmp_path: Path, byteorder: bytes | None) -> None:
    state = read_state_dict(archived(torch, tmp_path / "weights.pth", byteorder))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(state[name], array)
        assert state[name].dtype == array.dtype


def test_an_archive_with_another_byte_order_is_an_error(torch: types.ModuleType, tmp_path: Path) -> None:
    path = archived(torch, tmp_path / "weights.pth", b"big")
    with pytest.raises(UserError, match="unknown byte order"):
        read_state_dict(path)


def test_a_truncated_archive_is_an_error(torch: types.ModuleType, tmp_path: Path) -> None:
    path = archived(torch, tmp_path / "weights.pth")
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "part.pth", "w") as part:
        for name in whole.namelist()[:-1]:
            part.writestr(name, whole.read(name))
    with pytest.raises(UserError, match=r"part\.pth: not a state dict of PyTorch, or damaged"):
        read_state_dict(tmp_path / "part.pth")


def test_tensors_have_their_values_shapes_and_strides(file: Path) -> None:
    state = read_state_dict(file)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(state[name], array)
        assert state[name].dtype == array.dtype
    np.testing.assert_array_equal(state["transposed"], [[4, 6], [5, 7]])


def test_truncated_files_are_errors(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(0, len(whole), 13):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"weights\.pth: not a state dict"):
            read_state_dict(file)
    with pytest.raises(UserError, match="No such file"):
        read_state_dict(file.with_name("absent.pth"))


def test_nothing_but_tensors_is_unpickled(torch: types.ModuleType, tmp_path: Path) -> None:
    path, created = tmp_path / "weights.pth", tmp_path / "created"
    write(path, {"weight": Rebuilt(os.mkdir, str(created))}, {})
    with pytest.raises(UserError, match="mkdir is not part of a state dict"):
        read_state_dict(path)
    assert not created.exists()


@pytest.mark.parametrize(("module", "name"), [("torch", "device"), ("builtins", "FloatStorage")])
def test_only_storage_classes_are_unpickled(
    torch: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setattr(sys.modules[module], name, type(name, (), {"__module__": module}), raising=False)
    write(tmp_path / "weights.pth", {"weight": getattr(sys.modules[module], name)}, {})
    with pytest.raises(UserError, match=f"{name} is not part of a state dict"):
        read_state_dict(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("offset", "shape", "strides"), [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (1, 3)), (3, (2,), (-1,))]
)
def test_tensors_stay_inside_their_storage(
    torch: types.ModuleType, tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    array = np.arange(4, dtype="<f4")
    rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
    tensor = Rebuilt(rebuild, storage(torch, array, "0"), offset, shape, strides, False, OrderedDict())
    write(tmp_path / "weights.pth", OrderedDict(weight=tensor), {"0": array})
    with pytest.raises(UserError, match="beyond its storage"):
        read_state_dict(tmp_path / "weights.pth")


DEEP = b")" + b"q\x01h\x01\x86" * 60
"""A tuple of two equal tuples, 60 levels deep: 2^60 visits for whoever hashes, compares or formats it."""
KIND = b"X\x07\x00\x00\x00storage"
NAME = b"X\x0c\x00\x00\x00FloatStorage"
KEY = b"X\x01\x00\x00\x000"


@pytest.mark.parametrize(
    "pickled",
    [
        b"}" + DEEP + b"Ns.",
        b"}(" + DEEP + b"Nu.",
        b"ccollections\nOrderedDict\n(](" + DEEP + b"N\x86etR.",
        b"(" + DEEP + NAME + KEY + b"NK\x01tQ.",
        b"(" + KIND + DEEP + KEY + b"NK\x01tQ.",
        b"(" + KIND + NAME + DEEP + b"NK\x01tQ.",
        b"(" + KIND + NAME + KEY + b"N" + DEEP + b"tQ.",
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + KIND + NAME + KEY + b"NK\x01tQK\x00K\x01\x85" + DEEP + b"tR.",
        b"\x8f(" + DEEP + b"\x90.",
        b")" + b"2\x86" * 60 + b".",
    ],
    ids=["item", "items", "pairs", "kind", "name", "key", "count", "strides", "set", "dup"],
)
def test_deeply_nested_tuples_are_refused_at_once(tmp_path: Path, pickled: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\x02" + pickled)
    with pytest.raises(UserError, match="not a state dict"):
        read_state_dict(tmp_path / "weights.pth")


def test_ordered_dictionaries_of_python_2_are_read(tmp_path: Path) -> None:
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((" + KIND.replace(b"X\x07\0\0\0", b"U\x07")
    tensor += b"ctorch\nFloatStorage\n" + b"U\x010U\x03cpuK\x02tQK\x00K\x02\x85K\x01\x85tR"
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\x02ccollections\nOrderedDict\n](](U\x01w" + tensor + b"ee\x85R.")
        archive.writestr("weights/data/0", np.array([1.5, -2.0], "<f4").tobytes())
    assert {name: array.tolist() for name, array in read_state_dict(tmp_path / "weights.pth").items()} == {
        "w": [1.5, -2.0]
    }
