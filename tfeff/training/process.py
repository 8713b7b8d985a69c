"""What a run changes in its process, and puts back."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism, is_op_determinism_enabled

from tfeff.models.network import in_policy


@contextmanager
def as_before(*, deterministic: bool) -> Iterator[None]:
    """Afterwards, TensorFlow's determinism and Keras' dtype policy are as before, for what else the process computes.

    Args:
        deterministic: whether TensorFlow's operators are deterministic inside. False leaves them as they are.
    """
    enables = deterministic and not is_op_determinism_enabled()
    if enables:
        tf.config.experimental.enable_op_determinism()
    try:
        with in_policy():
            yield
    finally:
        if enables:
            disable_op_determinism()  # TensorFlow does not export it
