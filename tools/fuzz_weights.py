"""Tests the readers of weights with damaged files: `python tools/fuzz_weights.py`.

Files of a small network in every format are damaged. Loading one must end with weights or with `UserError`. Weights are
then as in the file or, if they are skipped, in the report; after an error, the network is unchanged; no value is
ever NaN or infinite. Zip archives (`.npz`, `.keras`, `.pth`) and TensorFlow checkpoints have checksums, so their values
must be right. Safetensors, HDF5 and old `.pth` files have none: other values are only counted.
"""

import io
import json
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import command_line
import fuzzing
import numpy as np

from tfeff.errors import UserError

Arrays = Mapping[str, np.ndarray]
Check = Callable[[Path, bool], tuple[str, str]]
"""Loads a file, which may have checksums; see `fuzzing.Case.check`."""
_DAMAGED = ("index", "data-00000-of-00001")


def prepare(_: Path) -> fuzzing.Make:
    """Builds the network, and writes its weights in all formats."""
    from tfeff import models

    network = models.build("resnet", num_classes=2, resolution=24, width=8, stage_blocks=(1, 1))
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(rng.uniform(0.1, 1.0, weight.shape))
    arrays = {weight.path: np.asarray(weight) for weight in network.weights}
    loaded = _loading(network, arrays)
    kinds: list[tuple[str, bool, str, bytes, Check]] = [
        ("npz", True, "w.npz", _npz(arrays), loaded),
        ("safetensors", False, "w.safetensors", _safetensors(arrays), loaded),
        ("pth", True, "w.pth", _pth(arrays), _reading(_read_pth, arrays)),
        ("pth, old", False, "w.pth", _old_pth(arrays), _reading(_read_pth, arrays)),
        ("weights.h5", False, "w.weights.h5", _saved(network.save_weights, "w.weights.h5"), loaded),
        ("keras", True, "w.keras", _saved(network.save, "w.keras"), loaded),
    ]
    checkpoint = _checkpoint(arrays)
    # Building a network from a .keras file takes longer than the others.
    shares = np.array([2, 2, 2, 2, 2, 0.3, 2])

    def make(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
        number = int(rng.choice(len(shares), p=shares / shares.sum()))
        if number < len(kinds):
            kind, checked, name, content, check = kinds[number]
            damage, damaged = fuzzing.damaged(content, rng, fuzzing.pick(rng, kinds)[3])
            (folder / name).write_bytes(damaged)
            return fuzzing.Case(kind, damage, lambda: check(folder / name, checked))
        part = fuzzing.pick(rng, _DAMAGED)
        damage, damaged = fuzzing.damaged(checkpoint[part], rng)
        for ending in _DAMAGED:
            (folder / f"w.{ending}").write_bytes(damaged if ending == part else checkpoint[ending])
        read = _reading(_read_checkpoint, arrays)
        return fuzzing.Case(f"checkpoint, {part[:5]}", damage, lambda: read(folder / "w", True))

    return make


def _loading(network: Any, expected: Arrays) -> Check:
    """Loads files into the network, whose weights are 0 before."""
    from tfeff import models

    def check(path: Path, checked: bool) -> tuple[str, str]:
        for weight in network.weights:
            weight.assign(np.zeros(weight.shape))
        try:
            report = models.load_weights(network, path)
        except UserError:
            changed = [weight.path for weight in network.weights if np.asarray(weight).any()]
            return "refused", f"the network has changed in spite of an error\n{changed}" if changed else ""
        found = {weight.path: np.asarray(weight) for weight in network.weights}
        lost = [path for path, value in found.items() if path not in report.loaded]
        if any(found[path].any() for path in lost) or {*lost} - {each.name for each in report.skipped}:
            return "loaded", "silent: variables that are not in the report"
        return _compared({path: found[path] for path in report.loaded}, expected, checked)

    return check


def _reading(read: Callable[[Path], Arrays], expected: Arrays) -> Check:
    """Reads files whose variables have names of their own."""

    def check(path: Path, checked: bool) -> tuple[str, str]:
        try:
            found = read(path)
        except UserError:
            return "refused", ""
        return _compared({name: value for name, value in found.items() if name in expected}, expected, checked)

    return check


def _compared(found: Arrays, expected: Arrays, checked: bool) -> tuple[str, str]:
    other = [
        name
        for name, value in found.items()
        if value.shape != expected[name].shape or not np.array_equal(value, expected[name])
    ]
    if other and checked:
        return "other values", f"silent: other values, in spite of the checksums\n{other[:5]}"
    if other:
        return "other values without a word", ""
    return "same values" if len(found) == len(expected) else "same values, some variables reported as missing", ""


def _read_pth(path: Path) -> Arrays:
    from tfeff.models.weights.torch_file import read_state_dict

    return read_state_dict(path)


def _read_checkpoint(prefix: Path) -> Arrays:
    from tfeff.models.weights.automl import read_variables

    return read_variables(prefix)


def _saved(save: Callable[[Path], object], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def _npz(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **dict(arrays))
    return file.getvalue()


def _safetensors(arrays: Arrays) -> bytes:
    header, place = dict[str, Any](), 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in arrays.values())


def _checkpoint(arrays: Arrays) -> dict[str, bytes]:
    """Returns the files of a TensorFlow checkpoint by their endings."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        empty = [""] * len(arrays)
        tensors = [tf.constant(array) for array in arrays.values()]
        tf.raw_ops.SaveV2(prefix=f"{folder}/w", tensor_names=list(arrays), shape_and_slices=empty, tensors=tensors)
        return {ending: (Path(folder) / f"w.{ending}").read_bytes() for ending in _DAMAGED}


# A state dict, pickled without PyTorch: the opcodes that PyTorch writes.


def _pth(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("w/data.pkl", _state_dict(arrays, old=False))
        archive.writestr("w/byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"w/data/{key}", array.tobytes())
    return file.getvalue()


def _old_pth(arrays: Arrays) -> bytes:
    keys = sorted(map(str, range(len(arrays))))
    parts = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    parts += [_state_dict(arrays, old=True), pickle.dumps(keys, 2)]
    for key in keys:
        array = list(arrays.values())[int(key)]
        parts.append(struct.pack("<q", array.size) + array.tobytes())
    return b"".join(parts)


def _state_dict(arrays: Arrays, *, old: bool) -> bytes:
    content = b"\x80\x02ccollections\nOrderedDict\n)R("
    for key, (name, array) in enumerate(arrays.items()):
        view = b"N" if old else b""
        kept = _tuple(
            _text("storage"), b"ctorch\nFloatStorage\n", _text(str(key)), _text("cpu"), _int(array.size), view
        )
        shape = _tuple(*map(_int, array.shape))
        strides = _tuple(*(_int(step // array.itemsize) for step in array.strides))
        tensor = _tuple(kept + b"Q", _int(0), shape, strides, b"\x89", b"ccollections\nOrderedDict\n)R")
        content += _text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n" + tensor + b"R"
    return content + b"u."


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _int(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def main() -> None:
    """Tries all files."""
    fuzzing.main(__doc__, prepare, 3_000, needs_data=False)


if __name__ == "__main__":
    command_line.run(main)
