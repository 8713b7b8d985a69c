"""Reader of weights in the format `safetensors`, without its package.

A file is the length of a header (8 bytes, little-endian), the header (JSON: dtype, shape and place of each tensor), and
the tensors' contents, one after the other, in C order.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.errors import UserError

_MAX_HEADER = 100_000_000
"""Bytes; the format's own limit."""
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
}  # fmt: skip
_BFLOAT16 = "BF16"
_METADATA = "__metadata__"


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file by name; bfloat16 becomes float32, which is exact.

    Args:
        path: a `.safetensors` file.

    Raises:
        UserError: the file does not exist, is damaged, or has a tensor of another type.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(_MAX_HEADER, size - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length), object_pairs_hook=_without_repetitions)
            if not isinstance(header, dict):
                raise TypeError("its header is no JSON object")
            header.pop(_METADATA, None)
            _require_gapless(header, size - 8 - length)
            tensors = {}
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
                begin, end = entry["data_offsets"]
                tensors[name] = _tensor(name, entry, file.read(end - begin))
            return tensors
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UserError(f"weights {path}: not a safetensors file, or damaged ({str(error)[:200]})") from error


def _without_repetitions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is used twice")
    return found


def _require_gapless(header: dict[str, Any], size: int) -> None:
    """Requires that each byte of the contents belongs to one tensor."""
    position = 0
    for begin, end in sorted(tuple(entry["data_offsets"]) for entry in header.values()):
        if type(begin) is not int or type(end) is not int or begin != position or end < begin:
            raise ValueError(f"tensors overlap or leave gaps at byte {position}")
        position = end
    if position != size:
        raise ValueError(f"its tensors have {position} bytes, its contents {size}")


def _tensor(name: str, entry: dict[str, Any], content: bytes) -> np.ndarray:
    kind, shape = entry["dtype"], tuple(entry["shape"])
    if kind != _BFLOAT16 and kind not in _DTYPES:
        raise ValueError(f"{name} is of type {kind}; known are {', '.join((*_DTYPES, _BFLOAT16))}")
    if any(type(value) is not int or value < 0 for value in shape):
        raise ValueError(f"{name} has the shape {list(shape)}")
    dtype = np.dtype("<u2" if kind == _BFLOAT16 else _DTYPES[kind])
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{name}: {len(content)} bytes for the shape {list(shape)} of {kind}")
    array = np.frombuffer(content, dtype).reshape(shape)
    return (array.astype("<u4") << 16).view("<f4") if kind == _BFLOAT16 else array
