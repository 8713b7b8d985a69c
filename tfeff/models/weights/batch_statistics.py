"""Statistics of batch normalization for other images than those that a network was trained on."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfeff.errors import UserError
from tfeff.models.graph import graph_of, walk


def recompute_statistics(network: keras.Model, batches: Iterable[np.ndarray]) -> int:
    """Replaces the moving statistics of all batch normalization by those of images, without augmentation or labels.

    Each batch is normalized by its own statistics, as in training; the statistics of the batches are averaged (Wu and
    Johnson, "Rethinking 'Batch' in BatchNorm", arXiv:2105.07576, section 3.1). Those of a layer that is applied several
    times are averaged over its applications, too.

    Args:
        network: functional, with one input.
        batches: (n, height, width, channels) in [0, 255] each; the larger, the better.

    Returns:
        Number of layers whose statistics were replaced.

    Raises:
        UserError: no images, or batch normalization inside other layers, whose inputs are not known; the network is
            then unchanged.
    """
    graph = graph_of(network)
    sums = dict[int, tuple[keras.layers.BatchNormalization, int, np.ndarray, np.ndarray]]()

    def call(layer: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, keras.layers.BatchNormalization):
            return layer(*args, **kwargs)
        (x,) = args
        values = ops.cast(x, "float32")
        mean, variance = ops.moments(values, axes=list(range(len(x.shape) - 1)))
        rows = len(batch)
        here = (
            np.asarray(ops.convert_to_numpy(mean), np.float64),
            np.asarray(ops.convert_to_numpy(variance), np.float64),
        )
        _, total, means, squares = sums.get(id(layer), (layer, 0, np.zeros(1), np.zeros(1)))
        sums[id(layer)] = layer, total + rows, means + rows * here[0], squares + rows * (here[1] + here[0] ** 2)
        y = (values - mean) * ops.rsqrt(variance + layer.epsilon)
        if layer.gamma is not None:
            y *= layer.gamma
        if layer.beta is not None:
            y += layer.beta
        return ops.cast(y, x.dtype)

    images = 0
    for batch in batches:
        walk(graph, [ops.convert_to_tensor(batch)], call, training=False)
        images += len(batch)
    if not images:
        raise UserError("no images to compute statistics of")
    kinds = keras.layers.BatchNormalization
    inside = [each.path for each in network._flatten_layers() if isinstance(each, kinds) and id(each) not in sums]
    if inside:
        raise UserError(
            f"{len(inside)} of {len(inside) + len(sums)} layers of batch normalization are inside other layers, such "
            f"as {inside[0]}, where their statistics cannot be computed"
        )
    for layer, total, means, squares in sums.values():
        mean = means / total
        layer.moving_mean.assign(mean.astype(np.float32))
        layer.moving_variance.assign(np.maximum(squares / total - mean**2, 0).astype(np.float32))
    return len(sums)
