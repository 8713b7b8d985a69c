"""Training at several resolutions: each step is made at one of them, which is drawn (`training.resolution_factors`)."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfeff import models
from tfeff.data.images import resizing
from tfeff.errors import UserError
from tfeff.tasks.task import PROPOSED, Batch

SMALLEST = 8
"""Side of the smallest images, in pixels."""
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
        seed: of the run.

    Raises:
        UserError: two factors lead to one size, images would be too small, or as for `models.resized`.
    """

    def __init__(self, network: models.Network, factors: Sequence[float], seed: int) -> None:
        self.seed = seed
        multiple = models.size_multiple(network)
        if any(side % multiple for side in network.size) and any(factor != 1 for factor in factors):
            raise UserError(
                f"both sides of the input must be multiples of {multiple}, the coarsest stride of {network.name}, not "
                f"{_text(network.size)}; set {_advice(network, multiple)}"
            )
        sizes = [_size(network, factor, multiple) for factor in factors]
        for factor, size in zip(factors, sizes, strict=True):
            if min(size) < SMALLEST:
                raise UserError(f"with {factor:g}, images have {_text(size)} pixels; give a higher factor")
        size, count = Counter(sizes).most_common(1)[0]
        if count > 1:
            same = " and ".join(f"{factor:g}" for factor, each in zip(factors, sizes, strict=True) if each == size)
            raise UserError(
                f"{same} are all {_text(size)} pixels, since sides are rounded to multiples of {multiple}; give "
                "factors that are further apart"
            )
        self.networks = [network if each == network.size else models.resized(network, each) for each in sizes]

    def __str__(self) -> str:
        return ", ".join(_text(each.size) for each in self.networks)

    def drawn(self, step: int) -> int:
        """Returns the index of the network that a step trains."""
        return int(np.random.default_rng((self.seed, step)).integers(len(self.networks)))

    def first_steps(self) -> list[int]:
        """Returns the first step of each resolution."""
        found = dict[int, int]()
        step = 0
        while len(found) < len(self.networks):
            found.setdefault(self.drawn(step), step)
            step += 1
        return list(found.values())

    def resized(self, batch: Batch, index: int) -> Batch:
        """Returns a batch at the size of a network: its images, and boxes that are in their pixels."""
        size, old = self.networks[index].size, batch["image"].shape[1:3]
        if size == tuple(old):
            return batch
        with resizing.plain_operators():  # others have no kernel on GPUs, and cannot be compiled by XLA
            image = resizing.resize(batch["image"], size)
        scale = tf.constant([new / side for new, side in zip(size, old, strict=True)] * 2, tf.float32)
        return {**batch, "image": image, **{name: batch[name] * scale for name in _BOXES if name in batch}}


def _advice(network: models.Network, multiple: int) -> str:
    """Returns the nearest resolutions at which all sides of a detector's input are multiples, with its aspect ratio.

    If there are none up to twice its own, the input must be a square.
    """
    detector, own = network.description, network.resolution
    sizes = {
        side: dataclasses.replace(detector, backbone=dataclasses.replace(detector.backbone, resolution=side)).size
        for side in range(multiple, 2 * own + 1, multiple)
    }
    fitting = [side for side, size in sizes.items() if not any(each % multiple for each in size)]
    nearest = [*[side for side in fitting if side < own][-1:], *[side for side in fitting if side > own][:1]]
    if nearest:
        return f"model.resolution to {' or '.join(map(str, nearest))}"
    below = max(multiple, own // multiple * multiple)
    return f"model.resolution to {below} or {below + multiple}, and task.network.aspect to 1"


def _size(network: models.Network, factor: float, multiple: int) -> tuple[int, int]:
    height, width = (max(multiple, multiple * round(side * factor / multiple)) for side in network.size)
    return network.size if factor == 1 else (height, width)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
