"""Checkpoints of google/automl's EfficientDet: TensorFlow's format, and the names of the variables.

Checkpoints of TensorFlow 1 and 2 have the same names. Those of TensorFlow 2 name tensors by the path of Python
attributes to them; their object graph has the names of the variables (trackable_object_graph.proto). A moving average
replaces its variable, as in evaluation there.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.networks.backbones.architecture import level_number
from tfeff.networks.catalog import ALL_DETECTORS
from tfeff.networks.detectors.efficientdet import EfficientDet
from tfeff.networks.heads import BOX_HEAD, CLASS_HEAD
from tfeff.networks.necks.tables import bifpn

AVERAGE = "/ExponentialMovingAverage"
"""Ends the name of a variable's moving average."""
_STATE_FILE = "checkpoint"  # names the latest checkpoint of a directory
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_HEADS = {CLASS_HEAD: "class", BOX_HEAD: "box"}
_NORMALIZATION = "tpu_batch_normalization"
_PREDICTING = (f"{CLASS_HEAD}_predict", f"{BOX_HEAD}_predict")
_LEVEL = re.compile(r"\w+_net/\w+-\d+-bn-(\d+)/")


def find_checkpoint(path: Path) -> Path | None:
    """Returns the prefix of a checkpoint, such as `folder/model`.

    Args:
        path: a prefix; its index or data file; or a directory with a `checkpoint` file, which names the latest.

    Returns:
        The prefix, or None if there is no checkpoint.
    """
    if (path / _STATE_FILE).is_file():
        state = (path / _STATE_FILE).read_text(encoding="utf-8", errors="replace")
        latest = re.search(r'^model_checkpoint_path: "([^"\0\n]*)"$', state, re.MULTILINE)
        path = path / latest[1] if latest else path
    elif path.name:
        path = path.with_name(re.sub(r"\.(index|data-\d+-of-\d+)$", "", path.name))
    return path if path.name and path.with_name(f"{path.name}.index").is_file() else None


def read_variables(prefix: Path) -> dict[str, np.ndarray]:
    """Returns the variables of a checkpoint by name, such as "stem/conv2d/kernel".

    Moving averages have the name of their variable and AVERAGE, whether TensorFlow 1 or an optimizer's slot of
    TensorFlow 2 holds them. Tensors without a variable keep their name in the checkpoint; strings are left out.

    Args:
        prefix: the checkpoint's prefix, as `find_checkpoint` returns it.

    Raises:
        UserError: a file is missing or damaged.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        _require_sound(prefix)
        reader = tf.train.load_checkpoint(str(prefix))
        kinds = reader.get_variable_to_dtype_map()
        tensors = {name: reader.get_tensor(name) for name, kind in kinds.items() if kind != tf.string}
        names = _variable_names(reader.get_tensor(_OBJECT_GRAPH)) if _OBJECT_GRAPH in kinds else {}
    except (tf.errors.OpError, OSError, LookupError, ValueError, TypeError, DecodeError) as error:
        raise UserError(f"weights {prefix}: cannot be read ({str(error)[:300]})") from error
    return {names.get(key, key): tensor for key, tensor in tensors.items()}


_FOOTER, _MAGIC = 48, 0xDB4775248B80FB57
_BLOCK_TRAILER = 5  # its compression and its checksum


def _require_sound(prefix: Path) -> None:
    """Checks the index: TensorFlow compares checksums, but aborts the process if an entry cannot be parsed.

    Raises:
        ValueError, OSError, DecodeError: the index is damaged, or states more than its files hold.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto

    index = prefix.with_name(f"{prefix.name}.index").read_bytes()
    footer = index[-_FOOTER:]
    if len(footer) < _FOOTER or int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError("its index is truncated, or of another format")
    _, place = _varint(footer, 0)
    _, place = _varint(footer, place)
    start, place = _varint(footer, place)
    length, _ = _varint(footer, place)
    sizes = dict[int, int]()
    shards = 1
    for _, handle in _entries(index, start, length):
        start, place = _varint(handle, 0)
        length, _ = _varint(handle, place)
        for key, value in _entries(index, start, length):
            if not key:
                shards = BundleHeaderProto.FromString(value).num_shards
                continue
            name, entry = key.decode(), BundleEntryProto.FromString(value)
            shape = [dimension.size for dimension in entry.shape.dim]
            number = entry.shard_id
            if number not in sizes:
                sizes[number] = prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{shards:05d}").stat().st_size
            if min(entry.offset, entry.size, *shape, 0) < 0 or entry.offset + entry.size > sizes[number]:
                raise ValueError(f"{name} reaches beyond its file")
            kind = tf.dtypes.as_dtype(entry.dtype)
            # A string has a byte for its length at least.
            if math.prod(shape) * (kind.size if kind.is_numpy_compatible and kind != tf.string else 1) > entry.size:
                raise ValueError(f"{name} has {entry.size} bytes for the shape {shape}")


def _entries(index: bytes, start: int, length: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a block of a table; keys share prefixes."""
    block = index[start : start + length + 1]
    if len(block) <= length or start + length + _BLOCK_TRAILER > len(index) or length < 4:
        raise ValueError("its index is truncated")
    if block[length]:
        raise ValueError("its index is compressed")
    end = length - 4 - 4 * int.from_bytes(block[length - 4 : length], "little")
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        added, place = _varint(block, place)
        size, place = _varint(block, place)
        if shared > len(key) or place + added + size > end:
            raise ValueError("its index is damaged")
        key = key[:shared] + block[place : place + added]
        yield key, block[place + added : place + added + size]
        place += added + size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Returns a number of at most 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            break
        byte = data[place]
        value, place = value | (byte & 127) << shift, place + 1
        if byte < 128:
            return value, place
    raise ValueError("its index is damaged")


def _variable_names(graph: bytes) -> dict[str, str]:
    """Returns names of the variables by key in the checkpoint, from a `TrackableObjectGraph`."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    nodes = TrackableObjectGraph.FromString(graph).nodes
    keys: dict[int, str] = {}
    names: dict[int, str] = {}
    for number, node in enumerate(nodes):
        for attribute in node.attributes:
            if attribute.full_name and attribute.checkpoint_key:
                names[number], keys[number] = attribute.full_name, attribute.checkpoint_key
    for node in nodes:
        for slot in node.slot_variables:
            variable, holder = slot.original_variable_node_id, slot.slot_variable_node_id
            if slot.slot_name == "average" and variable in names and holder in keys:
                names[holder] = names[variable] + AVERAGE
    return {key: names[number] for number, key in keys.items()}


def rename(model: Network, variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the variables of a checkpoint to the paths of a network's variables.

    Args:
        model: an EfficientDet of any backbone and size.
        variables: what `read_variables` returned.

    Returns:
        Arrays by path in the network. Those that the network lacks keep their names; so do those of the neck's cells if
        the network's have other nodes or levels. Those that predict relative to other anchors have names that say so.
    """
    remaining = dict(variables)
    for name in variables:
        if name.endswith(AVERAGE):
            remaining[name.removesuffix(AVERAGE)] = remaining.pop(name)
    theirs = dict(_layers(model, variables))
    foreign = _PREDICTING if _has_other_anchors(model.description) else ()
    arrays = {}
    for weight in model.weights:
        layer, variable = weight.path.rsplit("/", 1)
        if layer not in theirs:
            continue
        if layer.endswith("_fusion"):
            parts = [f"{theirs[layer]}/WSM" + (f"_{number}" if number else "") for number in range(weight.shape[0])]
            if all(part in remaining for part in parts):
                arrays[weight.path] = np.stack([remaining.pop(part) for part in parts])
            continue
        if variable == "kernel" and layer.endswith(("_depthwise", "_depthwise_conv", "_pointwise")):
            variable = "pointwise_kernel" if layer.endswith("_pointwise") else "depthwise_kernel"
        name = f"{theirs[layer]}/{variable}"
        if name in remaining:
            path = f"{name} (for other anchors)" if layer.startswith(foreign) else weight.path
            arrays[path] = remaining.pop(name)
    return {**remaining, **arrays}


def _has_other_anchors(described: object) -> bool:
    """Returns whether a network predicts relative to other anchors than the published network of its name."""
    published = ALL_DETECTORS.get(getattr(described, "name", ""))
    if not isinstance(described, EfficientDet) or not isinstance(published, EfficientDet):
        return False
    return replace(described.anchors, levels=published.anchors.levels) != published.anchors


def _layers(model: Network, variables: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields names of layers here and there."""
    names = [layer.name for layer in model.layers if layer.weights]
    yield from _backbone(names, next((name.split("/")[0] for name in variables if "/stem/" in name), "backbone"))
    yield from _neck(model, names, {int(match[1]) for name in variables if (match := _LEVEL.match(name))})
    yield from _heads(names)


def _backbone(names: list[str], backbone: str) -> Iterator[tuple[str, str]]:
    """Yields names of the backbone's layers, here and there.

    There, the layers of a block are numbered by kind in the order of their computation.
    """
    yield "stem_conv", f"{backbone}/stem/conv2d"
    yield "stem_conv_bn", f"{backbone}/stem/{_NORMALIZATION}"
    found = (re.fullmatch(r"(stage\d+_block\d+)_project_conv", name) for name in names)
    for number, block in enumerate(match[1] for match in found if match):
        prefix = f"{backbone}/blocks_{number}"
        expands = f"{block}_expand_conv" in names
        convolutions = ["expand_conv"] * expands + ["project_conv"]
        normalized = ["expand_conv"] * expands + ["depthwise_conv", "project_conv"]
        for index, unit in enumerate(convolutions):
            yield f"{block}_{unit}", _numbered(f"{prefix}/conv2d", index)
        for index, unit in enumerate(normalized):
            yield f"{block}_{unit}_bn", _numbered(f"{prefix}/{_NORMALIZATION}", index)
        yield f"{block}_depthwise_conv", f"{prefix}/depthwise_conv2d"
        yield f"{block}_squeeze_excite_reduce", f"{prefix}/se/conv2d"
        yield f"{block}_squeeze_excite_expand", f"{prefix}/se/conv2d_1"


def _neck(model: Network, names: list[str], levels: set[int]) -> Iterator[tuple[str, str]]:
    """Yields names of the neck's layers, here and there.

    There, nodes and their inputs are numbered; the number of a node is also that of all maps before it. With other
    levels, the nodes of a number differ.

    Args:
        levels: the levels there.
    """
    numbers = sorted(map(level_number, model.levels))
    for number in numbers:
        yield f"neck_p{number}_conv", f"resample_p{number}/conv2d"
        yield f"neck_p{number}_bn", f"resample_p{number}/bn"
    if set(numbers) != levels or getattr(model.description, "neck", "bifpn") != "bifpn":
        return
    cells = [int(match[1]) for name in names if (match := re.match(r"neck_cell(\d+)_", name))]
    for cell in range(1, max(cells, default=0) + 1):
        maps = [f"P{number}" for number in numbers]
        for index, node in enumerate(bifpn(numbers[0], numbers[-1])):
            ours, theirs = f"neck_cell{cell}_{node.name.lower()}", f"fpn_cells/cell_{cell - 1}/fnode{index}"
            yield f"{ours}_fusion", theirs
            for position, source in enumerate(node.inputs):
                resample = f"{theirs}/resample_{position}_{maps.index(source)}_{len(maps)}"
                yield f"{ours}_from_{source.lower()}_conv", f"{resample}/conv2d"
                yield f"{ours}_from_{source.lower()}_bn", f"{resample}/bn"
            after = f"{theirs}/op_after_combine{len(maps)}"
            for suffix in ("", "_depthwise", "_pointwise"):
                yield f"{ours}_conv{suffix}", f"{after}/conv"
            yield f"{ours}_bn", f"{after}/bn"
            maps.append(node.name)


def _heads(names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        match = re.fullmatch(
            rf"({CLASS_HEAD}|{BOX_HEAD})_(predict|conv(\d+))(?:_p(\d+)_bn|_depthwise|_pointwise|)", name
        )
        if match is None or match[1] not in _HEADS:
            continue
        head, layer, number, level = match.groups()
        kind = _HEADS[head]
        theirs = f"{kind}_net/{kind}-" + ("predict" if layer == "predict" else str(int(number) - 1))
        yield name, theirs if level is None else f"{theirs}-bn-{level}"


def _numbered(name: str, index: int) -> str:
    return f"{name}_{index}" if index else name
