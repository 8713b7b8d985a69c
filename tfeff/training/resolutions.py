"""Training at several resolutions: each step is made at one of them, which is drawn (`training.resolution_factors`)."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfeff import models
from tfeff.data.images import resizing
from tfeff.tasks.task import PROPOSED, Batch

_BOXES = ("boxes_yxyx", PROPOSED)
"""What is in pixels of the images of a batch."""


class Resolutions:
    """A network at several resolutions, which share their weights.

    Args:
        network: the network.
        factors: the resolutions, relative to that of the network; sides are rounded to `models.size_multiple`.
        seed: of the run.

    Attributes:
        networks: the network at each resolution.

    Raises:
        UserError: see `models.resized`.
    """

    def __init__(self, network: models.Network, factors: Sequence[float], seed: int) -> None:
        self._seed = seed
        self.networks = [_at(network, factor) for factor in factors]

    def drawn(self, step: int) -> int:
        """Returns the index of the network that a step trains."""
        return int(np.random.default_rng((self._seed, step)).integers(len(self.networks)))

    def resized(self, batch: Batch, index: int) -> Batch:
        """Returns a batch at the size of a network: its images, and boxes that are in their pixels."""
        size, old = self.networks[index].size, batch["image"].shape[1:3]
        if size == tuple(old):
            return batch
        image = resizing.resize(batch["image"], size)
        scale = tf.constant([new / side for new, side in zip(size, old, strict=True)] * 2, tf.float32)
        return {**batch, "image": image, **{name: batch[name] * scale for name in _BOXES if name in batch}}


def _at(network: models.Network, factor: float) -> models.Network:
    multiple = models.size_multiple(network)
    height, width = (multiple * max(1, round(side * factor / multiple)) for side in network.size)
    return network if (height, width) == network.size or factor == 1 else models.resized(network, (height, width))
