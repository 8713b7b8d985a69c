"""A network that inherits the weights of another member of its family, of any width, depth and resolution."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from threadpoolctl import threadpool_limits

from tfeff.errors import UserError
from tfeff.models.inheritance.blocks import place
from tfeff.models.inheritance.dead_leaves import dead_leaves
from tfeff.models.inheritance.plan import Side, added, dropped, is_prediction, make_plan
from tfeff.models.inheritance.reconstruction import reconstruct
from tfeff.models.inheritance.statistics import measure
from tfeff.models.inheritance.transfer import copy_weights
from tfeff.models.network import Network
from tfeff.networks.detectors.detector import Detector, different

IMAGES = 128
"""Images for a reconstruction, unless others are given."""
REGIONS = 32
"""Regions of each image, if the network reads regions."""


@dataclass(frozen=True)
class Inheritance:
    """What a network inherited.

    Attributes:
        source: name of the network that it inherits from.
        kept: number of variables whose layers compute what they computed in the source.
        reconstructed: number of variables that were fitted to the source's outputs.
        new: paths of the variables that the source does not have.
        errors: mean squared difference from the source's outputs, divided by their variance, for the last block of each
            stage, neck and head, and for predictions. Only channels that the network has are compared. Empty if nothing
            was reconstructed.
        dropped: blocks of the source that the network does not have, such as "stage3_block2" or "neck_block3".
        added: blocks that the source does not have, and whether each passes on its input to rounding.
        images: number of images; 0 if none were needed.
        synthetic: whether these were drawn by this package.
        seconds: time it took.
        other: how the source, a detector of another kind, differs, so that only its backbone was used.
        predictions: how the source's anchors differ, so that predictions relative to them are new.
        classes: which classes keep their outputs, if they are not those of the source.
        loaded: paths of the variables that were set, in a network that contains the target.
    """

    source: str
    kept: int
    reconstructed: int
    new: tuple[str, ...]
    errors: dict[str, float]
    dropped: tuple[str, ...]
    added: dict[str, bool]
    images: int
    synthetic: bool
    seconds: float
    other: str | None = None
    predictions: str | None = None
    classes: str | None = None
    loaded: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"inherited from {self.source}: {self.kept} variables kept, {self.reconstructed} reconstructed"]
        if self.images:
            drawn = "drawn images, because none were given" if self.synthetic else "images"
            parts[0] += f" on {self.images} {drawn}"
            worst = ", ".join(f"{stage} {100 * error:.0f} %" for stage, error in self.errors.items())
            parts.append(f"unexplained variance: {worst}")
        if self.dropped:
            parts.append(f"dropped: {', '.join(self.dropped)}")
        if self.added:
            names = [name if exact else f"{name} (approximately the identity)" for name, exact in self.added.items()]
            parts.append(f"added: {', '.join(names)}")
        if self.new:
            layers = dict.fromkeys(
                re.sub(r"(stage\d+_block\d+)_.*", r"\1", path.rpartition("/")[0]) for path in self.new
            )
            if others := [each for each in layers if each not in self.added]:
                parts.append(f"new: {', '.join(others)}")
        if self.classes:
            parts.append(self.classes)
        if self.other:
            parts.append(f"neck and heads are new: {self.other}")
        if self.predictions:
            parts.append(f"predictions are new: {self.predictions}")
        return f"{'; '.join(parts)} ({self.seconds:.0f} s)"


@threadpool_limits.wrap(limits=1, user_api="blas")  # thousands of small matrices: threads would mostly wait, and spin
def inherit(
    source: Network,
    target: Network,
    images: np.ndarray | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Inheritance:
    """Gives a network the weights of another member of its family.

    Wider (Chen et al., "Net2Net", arXiv:1511.05641) and deeper networks, and those of another resolution, compute
    what the source computes, to rounding. Narrower and shallower ones are fitted to it, layer by layer, on images; so
    are additional cells of a neck, and additional convolutions of a head with an activation that has no fixed points.

    Args:
        source: a network with weights, in float32, for images of the target's size.
        target: a network of the same family (detectors: the same kind), in float32. All its weights are set, except
            those that predict other classes, or relative to other anchors.
        images: (n, height, width, channels) in [0, 255], of the target's size, without labels. About 100 suffice. None:
            `IMAGES` drawn ones, if they are needed.
        seed: chooses positions of images and channels to repeat; the result depends on nothing else.
        progress: called with the number of parts done, and of all.

    Raises:
        UserError: the networks are not of one family, or the images have another size.
    """
    began, rng = time.monotonic(), np.random.default_rng(seed)
    if source.size != target.size:
        sizes = " and ".join("{}x{}".format(*each.size) for each in (source, target))
        raise UserError(f"source and target are for images of {sizes}; build the source for those of the target")
    if (difference := different(source.description, target.description)) is not None:
        raise UserError(f"weights cannot be inherited by a detector of another kind: {difference}")
    shape, synthetic = tuple(target.inputs[0].shape[1:]), images is None
    if images is not None and images.shape[1:] != shape:
        raise UserError(f"images of {images.shape[1:]}: the network takes {shape}")
    ours, theirs = Side(target), Side(source)

    @cache
    def inputs() -> dict[str, np.ndarray]:
        pixels = dead_leaves(IMAGES, shape, seed) if images is None else np.asarray(images, np.float32)
        found = [pixels] if source.regions is None else [pixels, _drawn_regions(len(pixels), source.size, seed)]
        return {tensor._keras_history.operation.name: each for tensor, each in zip(source.inputs, found, strict=True)}

    predictions: str | None = None
    if isinstance(target.description, Detector):
        predictions = target.description.other_predictions(source.description)
    measured = cache(lambda: measure(theirs.nodes, theirs.segments, inputs(), rng))
    plan = make_plan(theirs, ours, measured, rng, new_predictions=predictions is not None)
    copy_weights(plan, rng)
    errors = dict[str, tuple[float, float]]()
    if not plan.exact.issuperset(plan.encodings):
        errors = reconstruct(plan, inputs(), rng, progress)
    layers = {names[0]: names for names in ours.applied.values() if names[0] in plan.encodings}
    counts = {name: len(ours.nodes[name].layer.weights) for name in layers}
    kept = sum(count for name, count in counts.items() if plan.exact.issuperset(layers[name]))
    known = {weight.path for name in layers for weight in ours.nodes[name].layer.weights}
    used = inputs.cache_info().currsize > 0
    return Inheritance(
        source=source.name,
        kept=kept,
        reconstructed=sum(counts.values()) - kept,
        new=tuple(weight.path for weight in target.weights if weight.path not in known),
        errors=_by_part(errors),
        dropped=dropped(plan),
        added=added(plan),
        images=len(next(iter(inputs().values()))) if used else 0,
        synthetic=synthetic,
        predictions=predictions,
        seconds=time.monotonic() - began,
    )


def _by_part(errors: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Returns the relative errors of each chain's last block, by name, and of predictions over all levels."""
    blocks, parts = dict[str, int](), dict[str, list[tuple[float, float]]]()
    for name, error in errors.items():
        chain, block = place(name)
        if block > blocks.get(chain, 0):
            blocks[chain], parts[chain] = block, []
        if chain or is_prediction(name):
            parts.setdefault(chain or name.partition("#")[0], []).append(error)
    return {
        part: sum(each for each, _ in values) / max(sum(each for _, each in values), 1e-12)
        for part, values in parts.items()
    }


def _drawn_regions(images: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """Returns regions of all sizes, shapes and places: boxes_yxyx float32 (images, REGIONS, 4) in pixels."""
    rng = np.random.default_rng((seed, 1))
    scales = rng.uniform(np.log(16), np.log(max(size)), (images, REGIONS, 1))
    sides = np.exp(scales + rng.normal(0, 0.3, (images, REGIONS, 2)))
    centers = rng.uniform(0, size, (images, REGIONS, 2))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1)
    return np.clip(boxes, 0, [*size, *size]).astype(np.float32)
