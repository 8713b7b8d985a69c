"""Frozen graphs: functions whose variables have become constants.

TensorFlow and other runtimes then fold batch normalization into convolutions, arrange weights for their kernels once,
and fuse operations.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def freeze(function: Any) -> Any:
    """The concrete function of a `tf.function` with one input signature, without variables.

    Its inputs and outputs are flat, in the order of `tf.nest.flatten`.
    """
    return convert_variables_to_constants_v2(function.get_concrete_function())


def frozen(function: Any) -> Callable[..., Any]:
    """A `tf.function` with one input signature, with the same arguments and results but without variables."""
    outputs, constant = function.get_concrete_function().structured_outputs, freeze(function)
    return lambda *inputs: tf.nest.pack_sequence_as(outputs, constant(*tf.nest.flatten(inputs)))
