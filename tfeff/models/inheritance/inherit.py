"""A network that inherits the weights of another member of its family, of any width, depth and resolution."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfeff.errors import UserError
from tfeff.models.inheritance.dead_leaves import dead_leaves
from tfeff.models.inheritance.plan import Side, loses, make_plan
from tfeff.models.inheritance.reconstruction import reconstruct
from tfeff.models.inheritance.statistics import measure
from tfeff.models.inheritance.transfer import copy_weights
from tfeff.models.network import Network

IMAGES = 128
"""Images for a reconstruction, unless others are given."""


@dataclass(frozen=True)
class Inheritance:
    """What a network inherited.

    Attributes:
        source: name of the network that it inherits from.
        kept: number of variables whose layers compute what they computed in the source.
        reconstructed: number of variables that were fitted to the source's outputs.
        new: paths of the variables that the source does not have.
        errors: by stage, of its last block's output: mean squared difference from the source's, in the channels that
            the network has, divided by the variance. Empty if nothing was reconstructed.
        dropped: blocks of the source that the network does not have, such as "stage3_block2".
        images: number of images; 0 if none were needed.
        synthetic: whether these were drawn by this package.
        seconds: time it took.
    """

    source: str
    kept: int
    reconstructed: int
    new: tuple[str, ...]
    errors: dict[str, float]
    dropped: tuple[str, ...]
    images: int
    synthetic: bool
    seconds: float

    def __str__(self) -> str:
        parts = [f"inherited from {self.source}: {self.kept} variables kept, {self.reconstructed} reconstructed"]
        if self.images:
            drawn = "drawn images, because none were given" if self.synthetic else "images"
            parts[0] += f" on {self.images} {drawn}"
            worst = ", ".join(f"{stage} {100 * error:.0f} %" for stage, error in self.errors.items())
            parts.append(f"unexplained variance: {worst}")
        if self.dropped:
            parts.append(f"dropped: {', '.join(self.dropped)}")
        if self.new:
            layers = dict.fromkeys(
                re.sub(r"(stage\d+_block\d+)_.*", r"\1", path.rpartition("/")[0]) for path in self.new
            )
            parts.append(f"new: {', '.join(layers)}")
        return f"{'; '.join(parts)} ({self.seconds:.0f} s)"


def inherit(
    source: Network,
    target: Network,
    images: np.ndarray | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Inheritance:
    """Give a network the weights of another member of its family.

    Wider (Chen et al., "Net2Net", arXiv:1511.05641) and deeper networks, and those of another resolution, compute
    what the source computes, to rounding. Narrower and shallower ones are fitted to it, layer by layer, on images.

    Args:
        source: with weights, in float32, for images of the target's size.
        target: of the same family, in float32. Its weights are set, except those of a classifier with other classes.
        images: (n, height, width, channels) in [0, 255], of the target's size, without labels. About 100 suffice. None:
            `IMAGES` drawn ones, if they are needed.
        seed: chooses positions of images and channels to repeat; the result depends on nothing else.
        progress: called with the number of parts done, and of all.

    Raises:
        UserError: the networks are not of one family, or the images have another size.
    """
    began, rng = time.monotonic(), np.random.default_rng(seed)
    if source.size != target.size:
        raise ValueError(f"source for images of {source.size}, target of {target.size}")
    ours, theirs = Side(target), Side(source)
    statistics, synthetic = None, images is None
    if images is not None and images.shape[1:] != tuple(target.inputs[0].shape[1:]):
        raise UserError(f"images of {images.shape[1:]}: the network takes {tuple(target.inputs[0].shape[1:])}")

    def needed() -> np.ndarray:
        if images is not None:
            return np.asarray(images, np.float32)
        return dead_leaves(IMAGES, target.inputs[0].shape[1:], seed)

    used = None
    if loses(theirs, ours):
        used = needed()
        statistics = measure(theirs.segments, used, rng)
    plan = make_plan(theirs, ours, statistics, rng)
    copy_weights(plan, rng)
    inexact = plan.encodings.keys() - plan.exact
    errors = dict[str, float]()
    if inexact:
        used = needed() if used is None else used
        errors = reconstruct(plan, used, rng, progress)
    inherited = {name for name in plan.encodings if ours.nodes[name].layer.weights}
    counts = [sum(len(ours.nodes[name].layer.weights) for name in names) for names in (inherited, inherited & inexact)]
    known = {weight.path for name in inherited for weight in ours.nodes[name].layer.weights}
    kept_blocks = {(stage, origin.first) for (stage, _), origin in plan.origins.items()}
    return Inheritance(
        source=source.name,
        kept=counts[0] - counts[1],
        reconstructed=counts[1],
        new=tuple(weight.path for weight in target.weights if weight.path not in known),
        errors={name.split("_")[0]: error for name, error in errors.items()},
        dropped=tuple(
            f"stage{stage}_block{block}"
            for stage, blocks in theirs.blocks.items()
            for block in range(1, blocks + 1)
            if (stage, block) not in kept_blocks
        ),
        images=0 if used is None else len(used),
        synthetic=synthetic,
        seconds=time.monotonic() - began,
    )
