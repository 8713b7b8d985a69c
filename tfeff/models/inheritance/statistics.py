"""What a network does with images: covariances of what its layers read, and how much each block changes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from keras import ops

from tfeff.models.graph import Node
from tfeff.models.inheritance import sampling
from tfeff.models.inheritance.blocks import Segment, last_reads, paired
from tfeff.models.inheritance.sampling import Moments
from tfeff.models.inheritance.spaces import LINEAR, channels_of


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of a network's layers and blocks on images.

    Attributes:
        covariances: covariance of the input channels of each linear layer, float64 (channels, channels), by name.
        effects: |output - input|^2 / |output|^2 of each block after the first of its chain, by (chain, block).
    """

    covariances: dict[str, np.ndarray]
    effects: dict[tuple[str, int], float]


def measure(
    nodes: Mapping[str, Node], segments: list[Segment], images: Mapping[str, np.ndarray], rng: np.random.Generator
) -> Statistics:
    """Measures the statistics of a network on images.

    Args:
        nodes: the network's operations by name.
        segments: the network's segments, in the order of execution.
        images: raw pixels and, if the network takes them, regions, float32 (n, ...), by the name of the input.
        rng: chooses positions.
    """
    moments, changes = dict[str, Moments](), dict[tuple[str, int], list[float]]()
    sizes = list[int]()  # images of each part
    outputs = {(segment.chain, segment.block): segment.outputs for segment in segments if segment.chain}
    kept, count = last_reads(segments), len(next(iter(images.values())))
    for part in sampling.chunks(images):
        known = {name: ops.convert_to_tensor(values[part]) for name, values in images.items()}
        sizes.append(len(next(iter(known.values()))))
        for segment, needed in zip(segments, kept, strict=True):
            sampling.run(segment.nodes, known, segment.nodes)
            for node in segment.nodes.values():
                if isinstance(node.layer, LINEAR):
                    x = known[node.inputs[0]]
                    places = sampling.positions(sampling.size_of(x), len(x), count, rng)
                    rows = sampling.values_at(x, places).reshape(-1, channels_of(nodes, node.inputs[0]))
                    moments.setdefault(node.layer.name, Moments()).add(rows)
            if segment.block > 1:
                before = paired(segment.outputs, outputs[segment.chain, segment.block - 1])
                change = _change([(known[theirs], known[ours]) for ours, theirs in before.items()])
                changes.setdefault((segment.chain, segment.block), []).append(change)
            known = {name: value for name, value in known.items() if name in needed}
    covariances = {name: each.covariance() for name, each in moments.items()}
    return Statistics(covariances, {place: fmean(values, sizes) for place, values in changes.items()})


def _change(pairs: list[tuple[Any, Any]]) -> float:
    """Returns |after - before|^2 / |after|^2 of pairs of maps; infinite if their shapes differ."""
    if any(before.shape != after.shape for before, after in pairs):
        return math.inf
    change = sum(float(ops.sum(ops.square(after - before))) for before, after in pairs)
    return change / max(sum(float(ops.sum(ops.square(after))) for _, after in pairs), 1e-12)
