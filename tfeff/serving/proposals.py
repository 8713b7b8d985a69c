"""Region proposals as further inputs of an exported detector: `proposals` and `counts`.

For b images, `proposals` are float32 [b, n, 4], yxyx in pixels and best first, padded to any n; `counts`, int32 [b],
are their numbers. The network reads at most `max_proposals` of an image, the best.
"""

from typing import Any

import tensorflow as tf

from tfeff.proposals.records import selective_search, to_record
from tfeff.tasks import ImageTask
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID


def inputs(task: ImageTask, *, batch_size: int | None = None, padded: bool = False) -> list[tf.TensorSpec]:
    """The further inputs of a task's exported model; none if it reads images alone.

    Args:
        task: of the model.
        batch_size: None: any.
        padded: whether the caller pads to `max_proposals`, for runtimes that need fixed shapes.
    """
    if task.proposals is None:
        return []
    number = task.proposals.max_proposals if padded else None
    boxes = tf.TensorSpec((batch_size, number, 4), tf.float32, "proposals")
    return [boxes, tf.TensorSpec((batch_size,), tf.int32, "counts")]


def network_specs(task: ImageTask) -> dict[str, tf.TensorSpec]:
    """What `network_inputs` returns; empty if the task has no proposals."""
    if task.proposals is None:
        return {}
    number = task.proposals.max_proposals
    return {
        PROPOSED: tf.TensorSpec((None, number, 4), tf.float32),
        PROPOSED_VALID: tf.TensorSpec((None, number), tf.bool),
    }


def network_inputs(
    task: ImageTask, proposals: tf.Tensor, counts: tf.Tensor, *, scale: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """The tensors of a batch, as those of `BoxTransform`.

    Args:
        task: of the model; its `proposals` are not None.
        proposals: float32 [b, n, 4].
        counts: int32 [b].
        scale: float32 [b, 2], size of an image in the network's input divided by its own; None: 1.
    """
    assert task.proposals is not None
    number = task.proposals.max_proposals
    valid = tf.range(number) < counts[:, tf.newaxis]
    if proposals.shape[1] != number:
        proposals = tf.pad(proposals[:, :number], [[0, 0], [0, number], [0, 0]])[:, :number]
    if scale is not None:
        proposals *= tf.tile(scale, (1, 2))[:, tf.newaxis]
    return {PROPOSED: tf.where(valid[..., tf.newaxis], proposals, 0.0), PROPOSED_VALID: valid}


def record(task: ImageTask) -> dict[str, Any] | None:
    """The proposal method of the training; None if the task has no proposals."""
    return None if task.proposals is None else to_record(selective_search(task.proposals))
