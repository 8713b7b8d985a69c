"""Reads the variables of TensorFlow checkpoints, without TensorFlow.

A checkpoint `model` is an index, `model.index`, and data files, `model.data-00000-of-00001`, ... The index is a sorted
table in LevelDB's format, from the name of a tensor to a `BundleEntryProto`: its type, shape, file, offset and size
(tensorflow/core/protobuf/tensor_bundle.proto). Checkpoints of TensorFlow 2 name tensors by the path of Python
attributes to them; their object graph has the names of the variables (trackable_object_graph.proto).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.errors import UserError

AVERAGE = "/ExponentialMovingAverage"
"""Ends the name of a variable's moving average."""
_STATE_FILE = "checkpoint"  # names the latest checkpoint of a directory
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_STRING = 7
_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    5: np.dtype("<i2"),
    6: np.dtype("i1"),
    9: np.dtype("<i8"),
    10: np.dtype("?"),
    19: np.dtype("<f2"),
}


def find_checkpoint(path: Path) -> Path | None:
    """The prefix of a checkpoint, such as `folder/model`.

    Args:
        path: a prefix; its index or data file; or a directory with a `checkpoint` file, which names the latest.

    Returns:
        The prefix, or None if there is no checkpoint.
    """
    if (path / _STATE_FILE).is_file():
        latest = re.search(r'^model_checkpoint_path: "(.*)"$', (path / _STATE_FILE).read_text(), re.MULTILINE)
        path = path / latest[1] if latest else path
    elif path.name:
        path = path.with_name(re.sub(r"\.(index|data-\d+-of-\d+)$", "", path.name))
    return path if path.name and path.with_name(f"{path.name}.index").is_file() else None


def read_variables(prefix: Path) -> dict[str, np.ndarray]:
    """The variables of a checkpoint by name, such as "stem/conv2d/kernel".

    Moving averages have the name of their variable and AVERAGE, whether TensorFlow 1 or an optimizer's slot of
    TensorFlow 2 holds them. Tensors without a variable keep their name in the checkpoint.

    Args:
        prefix: of `find_checkpoint`.

    Raises:
        UserError: a file is missing or damaged, or a tensor has an unsupported format.
    """
    try:
        tensors = dict(_tensors(prefix))
        graph = tensors.pop(_OBJECT_GRAPH, None)
        names = {} if graph is None else _variable_names(graph.tobytes())
    except OSError as error:
        raise UserError(f"weights {prefix}: cannot be read ({error})") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"weights {prefix}: not a TensorFlow checkpoint, or damaged ({error})") from error
    return {names.get(key, key): tensor for key, tensor in tensors.items()}


def _tensors(prefix: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Tensors by key. The object graph, a string, is an array of bytes; other strings are left out."""
    entries = dict(_table(prefix.with_name(f"{prefix.name}.index").read_bytes()))
    shards = _fields(entries.pop(b"")).get(1, [1])[0]
    files = [
        np.memmap(prefix.with_name(f"{prefix.name}.data-{shard:05}-of-{shards:05}"), np.uint8, "r")
        for shard in range(shards)
    ]
    for key, entry in entries.items():
        fields = _fields(entry)
        name, kind = key.decode(), int(fields[1][0])
        if 7 in fields:
            raise ValueError(f"{name} is stored in slices")
        start, size = fields.get(4, [0])[0], fields.get(5, [0])[0]
        contents = files[fields.get(3, [0])[0]][start : start + size]
        if len(contents) != size:
            raise ValueError(f"{name} reaches beyond the end of its file")
        if kind in _DTYPES:
            dims = [_fields(dim).get(1, [0])[0] for dim in _fields(fields.get(2, [b""])[0]).get(2, [])]
            yield name, np.frombuffer(contents.tobytes(), _DTYPES[kind]).reshape(dims)
        elif kind != _STRING:
            raise ValueError(f"{name} has the unsupported type {kind}")
        elif name == _OBJECT_GRAPH:  # its length, a checksum of four bytes, its characters
            length, position = _varint(contents.tobytes(), 0)
            yield name, contents[position + 4 : position + 4 + length]


def _variable_names(graph: bytes) -> dict[str, str]:
    """Names of the variables by key in the checkpoint, from a `TrackableObjectGraph`."""
    nodes = [_fields(node) for node in _fields(graph).get(1, [])]
    keys: dict[int, str] = {}
    names: dict[int, str] = {}
    for number, node in enumerate(nodes):
        for attribute in map(_fields, node.get(2, [])):
            if 2 in attribute and 3 in attribute:
                names[number], keys[number] = attribute[2][0].decode(), attribute[3][0].decode()
    for node in nodes:
        for slot in map(_fields, node.get(3, [])):
            variable, holder = slot.get(1, [0])[0], slot.get(3, [0])[0]
            if slot.get(2, [b""])[0] == b"average" and variable in names and holder in keys:
                names[holder] = names[variable] + AVERAGE
    return {key: names[number] for number, key in keys.items()}


def _table(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a LevelDB table."""
    footer = file[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError("no table of tensors")
    position = 0
    handle = []  # offset and size of the index of meta blocks, then of the index of data blocks
    for _ in range(4):
        value, position = _varint(footer, position)
        handle.append(value)
    for _, block in _block(file, handle[2], handle[3]):
        offset, position = _varint(block, 0)
        yield from _block(file, offset, _varint(block, position)[0])


def _block(file: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block. A key shares a prefix with the key before it."""
    block = file[offset : offset + size]
    if len(block) != size or file[offset + size] != 0:
        raise ValueError("a block is incomplete or compressed")
    restarts = int.from_bytes(block[-4:], "little")
    end, position, key = size - 4 * (restarts + 1), 0, b""
    while position < end:
        shared, position = _varint(block, position)
        added, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + added]
        position += added + length
        yield key, block[position - length : position]


def _fields(message: bytes) -> dict[int, list[Any]]:
    """Values of a protocol buffer by field number: integers and bytes."""
    fields: dict[int, list[Any]] = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        value: int | bytes
        if tag & 7 == 0:
            value, position = _varint(message, position)
        else:
            length = {1: 8, 5: 4}.get(tag & 7)
            if tag & 7 == 2:
                length, position = _varint(message, position)
            if length is None or position + length > len(message):
                raise ValueError("a message is damaged")
            value, position = message[position : position + length], position + length
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """An integer in groups of seven bits, lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
