"""Weight files that were made to do harm, and safetensors."""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from tfeff import models
from tfeff.errors import UserError
from tfeff.models.weights.automl import find_checkpoint, read_variables
from tfeff.models.weights.hdf5 import read_layers
from tfeff.models.weights.safetensors_file import read_tensors
from tfeff.models.weights.torch_file import read_state_dict


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


FLOATS = b"ctorch\nFloatStorage\n"


def storage(count: int) -> bytes:
    return tuple_of(text("storage"), FLOATS, text("0"), text("cpu"), integer(count)) + b"Q"


def tensor(count: int, shape: tuple[int, ...] = (4,), strides: tuple[int, ...] = (1,), offset: int = 0) -> bytes:
    sizes = tuple_of(*map(integer, shape)), tuple_of(*map(integer, strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + tuple_of(storage(count), integer(offset), *sizes) + b"R"


def pth(path: Path, *values: bytes, compression: int = zipfile.ZIP_STORED, attributes: bytes = b"") -> Path:
    """Returns a state dict of values that are called a, b, ..."""
    items = b"".join(text(name) + value for name, value in zip("abc", values, strict=False))
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u" + attributes + b".")
        archive.writestr("w/data/0", struct.pack("<4f", 1, 2, 3, 4))
    return path


def test_attributes_of_a_state_dict_are_dropped(tmp_path: Path) -> None:
    path = pth(tmp_path / "w.pth", tensor(4), attributes=b"}" + text("_metadata") + b"}sb")
    assert {name: value.tolist() for name, value in read_state_dict(path).items()} == {"a": [1, 2, 3, 4]}


ARRAY_STATE = tuple_of(integer(1), tuple_of(integer(0)), FLOATS, b"\x89", b"U\x00")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([tensor(4), storage(4) + ARRAY_STATE + b"b"], "object with a state"),
        ([tensor(4) + ARRAY_STATE + b"b"], "object with a state"),
        ([FLOATS + tuple_of(integer(3), text("<")) + b"b"], "object with a state"),
        ([tensor(1 << 45)], "storage 0 has 16 bytes for 35184372088832"),
        ([tensor(-5)], "-5 elements"),
        ([tensor(4, (1 << 40,), (0,))], "beyond its storage"),
        ([tensor(4, (1 << 70,), (0,))], "beyond its storage"),
        ([tensor(4, (0,), (1,), -2)], "negative size"),
        ([tensor(4, (-3, 100), (1, 1))], "negative size"),
        ([tensor(4), tensor(3, (3,))], "described twice"),
        ([b"\x8e" + struct.pack("<Q", 1 << 40)], "damaged"),
        ([b"\x8b" + struct.pack("<i", 0x7FFFFFFF)], "damaged"),
    ],
)
def test_pickles_that_would_harm_are_errors(tmp_path: Path, values: list[bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_state_dict(pth(tmp_path / "w.pth", *values))


def test_a_compressed_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.pkl is compressed"):
        read_state_dict(pth(tmp_path / "w.pth", tensor(4), compression=zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("content", [b"", pickle.dumps(1), b"\x80\x04\x8e" + struct.pack("<Q", 1 << 45)])
def test_old_files_of_any_stated_length_are_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match="not a state dict"):
        read_state_dict(tmp_path / "w.pth")


def h5(path: Path, member: object) -> Path:
    with h5py.File(path, "w") as file:
        variables = file.create_group("layers/x/vars")
        variables.attrs["name"] = "dense"
        if callable(member):
            member(variables)
        else:
            variables["0"] = member
    return path


def other(folder: Path) -> Path:
    with h5py.File(folder / "other.h5", "w") as file:
        file["d"] = np.array([7, 8], "f4")
    return folder / "other.h5"


def virtual(group: h5py.Group, path: Path) -> None:
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(path, "d", (2,))
    group.create_virtual_dataset("0", layout)


def test_hdf5_stays_in_its_file(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "w.weights.h5", other(tmp_path)
    assert read_layers(h5(path, np.float32([1, 2])))["dense"]["0"].tolist() == [1, 2]
    external = [(str(elsewhere), 0, 8)]
    for member, message in (
        (h5py.ExternalLink(str(elsewhere), "/d"), "is a link"),
        (h5py.SoftLink("/layers/x"), "is a link"),
        (lambda group: group.create_dataset("0", (2,), "f4", external=external), "in another file"),
        (lambda group: virtual(group, elsewhere), "in another file"),
        (lambda group: group.create_dataset("0", (1 << 40,), "f4"), "compressed or incomplete"),
        (lambda group: group.create_dataset("0", data=np.zeros(10**6), compression="gzip"), "compressed or incomplete"),
        (lambda group: group.__setitem__("loop", group.parent), "second name"),
    ):
        with pytest.raises(ValueError, match=message):
            read_layers(h5(path, member))


def test_a_keras_file_stays_in_its_file(tmp_path: Path, network: models.Network) -> None:
    network.save(tmp_path / "w.keras")
    with zipfile.ZipFile(tmp_path / "w.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        file["leaves"] = h5py.ExternalLink(str(other(tmp_path)), "/d")
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
        for name, content in (parts | {"model.weights.h5": weights.getvalue()}).items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="/leaves is a link"):
        models.load_weights(network, tmp_path / "w.keras")


def test_code_in_a_keras_file_is_not_run(tmp_path: Path, network: models.Network) -> None:
    created = str(tmp_path / "created")
    layers = [keras.layers.Input((4,)), keras.layers.Lambda(lambda x: open(created, "w") and x)]  # noqa: SIM115
    keras.Sequential(layers).save(tmp_path / "w.keras")
    Path(created).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"w\.keras: cannot be read"):
        models.load_weights(network, tmp_path / "w.keras")
    assert not Path(created).exists()


@pytest.fixture(scope="module")
def network() -> models.Network:
    return models.build("resnet", num_classes=2, resolution=16, width=4, stage_blocks=(1,))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_errors(tmp_path: Path, network: models.Network, value: float) -> None:
    arrays = {weight.path: np.ones(weight.shape, "f4") for weight in network.weights}
    before = [np.asarray(weight) for weight in network.weights]
    arrays["head_classifier/bias"][1] = value
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(UserError, match=rf"w\.npz: 1 of {len(arrays)} variables .* not finite .*head_classifier/bias"):
        models.load_weights(network, tmp_path / "w.npz")
    for weight, kept in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_arrays_are_as_large_as_their_files(tmp_path: Path, network: models.Network) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 42,)})
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    with pytest.raises(UserError, match=r"a\.npy is not an array of \(4398046511104,\)"):
        models.load_weights(network, tmp_path / "w.npz")


def safetensors(path: Path, header: object, content: bytes, length: int | None = None) -> Path:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded) if length is None else length) + encoded + content)
    return path


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_safetensors_are_read(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "second": entry("BF16", [2], 16, 20),
        "first": entry("F32", [2, 2], 0, 16),
        "step": entry("I64", [], 20, 28),
    }
    content = struct.pack("<4f", 1, 2, 3, 4) + b"\x80\x3f\x00\xc0" + struct.pack("<q", 9)
    found = read_tensors(safetensors(tmp_path / "w.safetensors", header, content))
    assert {name: value.tolist() for name, value in found.items()} == {
        "first": [[1, 2], [3, 4]],
        "second": [1, -2],
        "step": 9,
    }


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": entry("F32", [4], 0, 12)}, "12 bytes, its contents 16"),
        ({"a": entry("F32", [4], 4, 16)}, "gaps at byte 0"),
        ({"a": entry("F32", [4], 0, 1 << 40)}, "1099511627776 bytes, its contents 16"),
        ({"a": entry("F32", [4], 0, 16), "b": entry("F32", [2], 8, 16)}, "overlap"),
        ({"a": entry("F32", [1 << 40, 1 << 40], 0, 16)}, "16 bytes for the shape"),
        ({"a": entry("F32", [-2, -2], 0, 16)}, "shape"),
        ({"a": entry("F8_E4M3", [16], 0, 16)}, "type F8_E4M3"),
        ({"a": {"dtype": "F32"}}, "data_offsets"),
        ([], "no JSON object"),
        (b"[" * 100000, "damaged"),
        (b'{"a": 1, "a": 2}', "used twice"),
    ],
)
def test_damaged_safetensors_are_errors(tmp_path: Path, header: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_tensors(safetensors(tmp_path / "w.safetensors", header, bytes(16)))


@pytest.mark.parametrize("length", [1 << 63, 200_000_000, 100])
def test_a_header_longer_than_the_file_is_an_error(tmp_path: Path, length: int) -> None:
    with pytest.raises(UserError, match="a header of"):
        read_tensors(safetensors(tmp_path / "w.safetensors", {}, b"", length))


def test_safetensors_are_loaded_by_path(tmp_path: Path, network: models.Network) -> None:
    values = np.float32([3, 5])
    header = {"head_classifier/bias": entry("F32", [2], 0, 8)}
    models.load_weights(network, safetensors(tmp_path / "w.safetensors", header, values.tobytes()))
    bias = next(weight for weight in network.weights if weight.path == "head_classifier/bias")
    np.testing.assert_array_equal(bias, values)


def varint(value: int) -> bytes:
    content = b""
    while value > 127:
        content, value = content + bytes([value & 127 | 128]), value >> 7
    return content + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def checksum(data: bytes) -> bytes:
    """CRC32C as TensorFlow stores it, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return struct.pack("<I", (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def block(*items: tuple[bytes, bytes]) -> bytes:
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in items)
    return body + struct.pack("<II", 0, 1)


def checkpoint(folder: Path, variable: bytes) -> Path:
    """Returns a checkpoint with one variable; its values are zeros."""
    data = block((b"", field(1, 1)), (b"a", variable))
    index = block((b"z", varint(0) + varint(len(data))))
    parts = data + b"\0" + checksum(data + b"\0")
    footer = (varint(0) * 2 + varint(len(parts)) + varint(len(index))).ljust(40, b"\0")
    parts += index + b"\0" + checksum(index + b"\0") + footer + (0xDB4775248B80FB57).to_bytes(8, "little")
    (folder / "m.index").write_bytes(parts)
    (folder / "m.data-00000-of-00001").write_bytes(bytes(12))
    return folder / "m"


def variable(*shape: int, dtype: int = 1, size: int = 12, crc: bytes = checksum(bytes(12))) -> bytes:
    dimensions = b"".join(field(2, field(1, each)) for each in shape)
    return field(1, dtype) + field(2, dimensions) + field(5, size) + varint(6 << 3 | 5) + crc


def test_checkpoints_with_right_checksums(tmp_path: Path) -> None:
    variables = read_variables(checkpoint(tmp_path, variable(3)))
    assert {name: value.tolist() for name, value in variables.items()} == {"a": [0, 0, 0]}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (variable(3, crc=b"\0\0\0\0"), "Checksum does not match"),
        (b"\x08" + b"\xff" * 1000 + b"\x01", "cannot be read"),
        (variable(1 << 40, size=4 << 40), "beyond its file"),
        (variable(1 << 40), "12 bytes for the shape"),
        (variable(1 << 40, dtype=7), "12 bytes for the shape"),
        (variable(3, dtype=99), "cannot be read"),
        (variable(3) + field(3, 7), "No such file"),
    ],
)
def test_crafted_checkpoints_are_errors(tmp_path: Path, entry: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_variables(checkpoint(tmp_path, entry))


@pytest.mark.parametrize("name", [b"m\xff", b"m\0"])
def test_a_state_file_that_is_no_text(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "checkpoint").write_bytes(b'model_checkpoint_path: "' + name + b'"\n')
    assert find_checkpoint(tmp_path) is None


def test_a_compressed_keras_file_is_an_error(tmp_path: Path, network: models.Network) -> None:
    network.save(tmp_path / "w.keras")
    with zipfile.ZipFile(tmp_path / "w.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "w.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=r"w\.keras: cannot be read \(\S+ is compressed"):
        models.load_weights(network, tmp_path / "w.keras")


def test_large_arrays_that_do_not_fit_are_not_expanded(tmp_path: Path, network: models.Network) -> None:
    arrays = {weight.path: np.asarray(weight) for weight in network.weights}
    size = 4 << 20
    surplus = {f"{name}/large": np.zeros(size, "f4") for name in ("head", "tail")}
    first = network.weights[0].path
    np.savez_compressed(tmp_path / "w.npz", **arrays | surplus | {first: np.zeros((1, 1, 3, size), "f4")})
    tracemalloc.start()
    report = models.load_weights(network, tmp_path / "w.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * size
    assert {each.name: each.shape_there for each in report.skipped} == {
        "head/large": (size,),
        "tail/large": (size,),
        first: (1, 1, 3, size),
    }
