"""What callers of an exported model pass to it, and need to know: `metadata.json`, next to the model in every format.

Region proposals are further inputs of some detectors: `proposals` and `counts`. For b images, `proposals` are float32
[b, n, 4], yxyx in pixels and best first, padded to any n; `counts`, int32 [b], are their numbers. The network reads at
most `max_proposals` of an image, the best.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfeff import checked
from tfeff.boxes.tiling import Grid
from tfeff.data.dataset import Id
from tfeff.errors import UserError
from tfeff.proposals.records import method, to_record
from tfeff.tasks import ImageTask
from tfeff.tasks.task import EMBEDDING, PROPOSED, PROPOSED_VALID

METADATA = "metadata.json"
THRESHOLD = "threshold"
"""Key of the minimum cosine similarity of images of one class, for pairs."""
UNKNOWN_THRESHOLDS = "unknown_thresholds"
"""Key of the minimum cosine similarities of the nearest image of a gallery, by the number of images in it."""
PRECISION = "precision"
"""Key of the precision in which the model computes."""
TILE, TILE_OVERLAP = "tile", "tile_overlap"
"""Keys of (height, width) of the tiles of which a detector's training images were, and of the pixels they share."""
FILES = "files"
"""Key of the CRC-32 of each of the model's files, by its name in a folder."""
ADVICE = "export the model again"
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "input": list,
    "image_size": (list, type(None)),
    "fit": str,
    "interpolation": str,
    "class_names": list,
}
"""What must be there."""
VECTOR_FORMAT = "a vector of length 1; the dot product of two is their cosine similarity"


def metadata(
    task: ImageTask,
    class_names: Sequence[str],
    score: float | None,
    *,
    channels: int,
    image_size: tuple[int, int] | None,
    size: tuple[int, int] | None,
    class_ids: Sequence[Id] = (),
    unknown: Mapping[int, float] | None = None,
    grid: Grid | None = None,
    decoded: bool = True,
    precision: str = "float32",
    files: Mapping[str, bytes] | None = None,
) -> str:
    """Returns the contents of `metadata.json`.

    Args:
        task: the network's task.
        class_names: names of the classes, in the order of the probabilities.
        score: detection threshold of a detector; of an embedder, the minimum similarity of images of one class; else,
            or if it is not known, None.
        channels: channels of an image, 1 or 3.
        image_size: (height, width) to which images are fitted first, rounded to whole numbers; None: they are not.
        size: (height, width) of the model's input, to which the fitted images are then resized; None: the model takes
            images of any size and does both itself. Boxes are then in pixels of the image.
        class_ids: the dataset's own ids of the classes; empty if it has none.
        unknown: `evaluation.unknown_thresholds` of an embedder, if they are known.
        grid: how a detector's training images were cut into tiles; None: they were not.
        decoded: whether the model's outputs are the predictions of the task, not those of the network.
        precision: in which the model computes: `float32`, `bfloat16` (OpenVINO) or `int8` (LiteRT).
        files: the contents of the model's files by name, whose checksums are kept; None: others keep them.
    """
    boxes, reading = task.kind.boxes, task.reading
    if size is None:
        boxes = dict.fromkeys(boxes, "yxyx, in pixels of the image")
    record: dict[str, Any] = {
        "input": [*(size or (None, None)), channels],
        "fit": reading.fit,
        "interpolation": reading.interpolation,
        **({} if reading.center_crop is None else {"center_crop": reading.center_crop}),
        "image_size": image_size and list(image_size),
        "class_names": list(class_names),
        **({"class_ids": list(class_ids)} if class_ids else {}),
        PRECISION: precision,
    }
    if decoded and score is not None:
        record["score" if task.kind.detects else THRESHOLD] = score
    if decoded and task.kind.detects:
        record["class_agnostic"] = task.class_agnostic
        if grid is not None and grid.tile is not None:
            record |= {TILE: list(grid.tile), TILE_OVERLAP: grid.overlap}
    if decoded and task.kind == EMBEDDING:
        record |= {"embedding": VECTOR_FORMAT, UNKNOWN_THRESHOLDS: _named(unknown or {})}
    if decoded:
        record |= boxes
    if task.proposals is not None:
        record["proposals"] = proposal_record(task)
    if files is not None:
        record[FILES] = {name: f"{zlib.crc32(contents):08x}" for name, contents in files.items()}
    return checked.to_json(record)


def read(file: Path) -> dict[str, Any]:
    """Reads what `metadata` returned.

    Raises:
        UserError: the file is missing or damaged.
    """
    about = checked.read_json(file, ADVICE, _TYPES)
    names, ids, score = about["class_names"], about.get("class_ids"), about.get("score")
    detects = isinstance(score, int | float) and isinstance(about.get("class_agnostic"), bool)
    known = ids is None or (isinstance(ids, list) and len(ids) == len(names))
    if len(about["input"]) != 3 or not known or ("boxes" in about and not detects):
        raise UserError(f"{file}: input, class_ids, score or class_agnostic is damaged; {ADVICE}")
    return about


def grid_of(about: Mapping[str, Any]) -> Grid:
    """Returns the tiles in which the detector that metadata describe was trained; of whole images, none."""
    tile = about.get(TILE)
    return Grid() if tile is None else Grid((int(tile[0]), int(tile[1])), int(about.get(TILE_OVERLAP, 0)))


def _named(unknown: Mapping[int, float]) -> dict[str, float]:
    return {str(size): similarity for size, similarity in unknown.items()}


def is_metadata(path: Path) -> bool:
    """Returns whether a file has what `metadata` writes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"input", "fit", "interpolation", "class_names"} <= content.keys()


def inputs(task: ImageTask, *, batch_size: int | None = None, padded: bool = False) -> list[tf.TensorSpec]:
    """Returns the further inputs of a task's exported model; none if it reads images alone.

    Args:
        task: the model's task.
        batch_size: None: any.
        padded: whether the caller pads to `max_proposals`, for runtimes that need fixed shapes.
    """
    if task.proposals is None:
        return []
    number = task.proposals.max_proposals if padded else None
    boxes = tf.TensorSpec((batch_size, number, 4), tf.float32, "proposals")
    return [boxes, tf.TensorSpec((batch_size,), tf.int32, "counts")]


def network_specs(task: ImageTask) -> dict[str, tf.TensorSpec]:
    """Returns what `network_inputs` returns; empty if the task has no proposals."""
    if task.proposals is None:
        return {}
    number = None if task.section.CUTS_REGIONS else task.proposals.max_proposals
    return {
        PROPOSED: tf.TensorSpec((None, number, 4), tf.float32),
        PROPOSED_VALID: tf.TensorSpec((None, number), tf.bool),
    }


def network_inputs(
    task: ImageTask,
    proposals: tf.Tensor,
    counts: tf.Tensor,
    *,
    scale: tf.Tensor | None = None,
    covered: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Returns the tensors of a batch, as those of `BoxTransform`.

    Args:
        task: the model's task; its `proposals` are not None.
        proposals: float32 [b, n, 4].
        counts: int32 [b].
        scale: float32 [b, 2], size of an image in the network's input divided by its own; None: 1.
        covered: int32 [b, 2], size of an image in the network's input. Proposals are clipped to it, as in training.
    """
    assert task.proposals is not None
    number = task.proposals.max_proposals
    if task.section.CUTS_REGIONS:  # each costs a crop, so there are no more than given, but at least one
        number = tf.clip_by_value(tf.shape(proposals)[1], 1, number)
    valid = tf.range(number) < counts[:, tf.newaxis]
    if proposals.shape[1] is None or proposals.shape[1] != number:
        proposals = tf.pad(proposals[:, :number], [[0, 0], [0, number], [0, 0]])[:, :number]
    if scale is not None:
        proposals *= tf.tile(scale, (1, 2))[:, tf.newaxis]
    proposals = tf.clip_by_value(proposals, 0.0, tf.tile(tf.cast(covered, tf.float32), (1, 2))[:, tf.newaxis])
    return {PROPOSED: tf.where(valid[..., tf.newaxis], proposals, 0.0), PROPOSED_VALID: valid}


def proposal_record(task: ImageTask) -> dict[str, Any] | None:
    """Returns the proposal method of the training; None if the task has no proposals."""
    return None if task.proposals is None else to_record(method(task.proposals))
