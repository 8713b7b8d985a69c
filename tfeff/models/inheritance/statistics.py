"""What a network does with images: covariances of what its layers read, and how much each block changes."""

from dataclasses import dataclass
from statistics import fmean

import numpy as np
from keras import ops

from tfeff.models.inheritance import sampling
from tfeff.models.inheritance.blocks import Segment
from tfeff.models.inheritance.sampling import Moments
from tfeff.models.inheritance.spaces import LINEAR


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of a network on images.

    Attributes:
        covariances: of the input channels of each linear layer, float64 (channels, channels), by name.
        effects: of each block after the first of its stage, by (stage, block): |output - input|^2 / |output|^2.
    """

    covariances: dict[str, np.ndarray]
    effects: dict[tuple[int, int], float]


def measure(segments: list[Segment], images: np.ndarray, rng: np.random.Generator) -> Statistics:
    """Run a network on images.

    Args:
        segments: of the network.
        images: float32 (n, height, width, channels), raw pixels.
        rng: chooses positions.
    """
    moments, changes = dict[str, Moments](), dict[tuple[int, int], list[float]]()
    for part in sampling.chunks(images):
        value = ops.convert_to_tensor(images[part])
        for segment in segments:
            known = sampling.run(segment.nodes, {segment.reads: value})
            for name, node in segment.nodes.items():
                if isinstance(node.layer, LINEAR):
                    x = known[node.inputs[0]]
                    size = (x.shape[1], x.shape[2]) if len(x.shape) == 4 else (1, 1)
                    places = sampling.positions(size, len(value), len(images), rng)
                    moments.setdefault(name, Moments()).add(sampling.values_at(x, places))
            value, previous = known[segment.output], value
            if segment.block > 1:
                change = float(ops.sum(ops.square(value - previous)) / ops.sum(ops.square(value)))
                changes.setdefault((segment.stage, segment.block), []).append(change)
    covariances = {name: each.covariance() for name, each in moments.items()}
    return Statistics(covariances, {place: fmean(values) for place, values in changes.items()})
