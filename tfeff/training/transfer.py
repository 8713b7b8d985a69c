"""`optimizer.transfer=auto`: chooses which layers to train from pretrained weights.

The rule is in `recipes/transfer.py`. Here, the network computes the features of the training images, and what the rule
finds becomes values of the config.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.data import folds
from tfeff.data.input.cache import ImageCache
from tfeff.models.network import Network, in_policy
from tfeff.networks.heads import CLASSIFIER, POOL
from tfeff.recipes import rules, transfer
from tfeff.reporting import tables
from tfeff.selection import TrainingData
from tfeff.training import features
from tfeff.training.freezing import freeze
from tfeff.training.interruption import Interruption
from tfeff.training.plan import Plan
from tfeff.training.progress import Reporter
from tfeff.training.stored import fingerprint
from tfeff.training.workdir import CHOSEN

LAST = "last"
"""The last level of features: the classifier's input."""
VARIANTS = 4
"""Augmented variants of each image whose features are stored, if they are."""
EVIDENCE = "transfer"
"""Key of `dataset.json`: what was chosen, and why."""
_PROBES = dict[str, tuple[transfer.Start, ...]]()
"""Probes of this process, which its runs on the same images with the same initial weights share, by `fingerprint`."""


def choose(
    plan: Plan,
    images: TrainingData,
    reporter: Reporter,
    interruption: Interruption,
) -> dict[str, Any]:
    """Returns what `optimizer.transfer=auto` chooses for the training images of a new run; says it and why.

    Validation and test images are not used.

    Args:
        plan: plan of a new run, completed from the training images, with `optimizer.transfer` and without
            `optimizer.frozen`.
        images: the run's images.
        reporter: reports progress, and what is chosen.
        interruption: checked while features are computed.

    Returns:
        For the workdir's `dataset.json`: the values under `CHOSEN`, the reasons under `EVIDENCE`.
    """
    with in_policy("float32"):
        network = plan.build_network()

        def fitting(name: str, done: int, total: int) -> None:
            interruption.check("training had not started")
            reporter.fitting(name, done, total)

        plan.load_weights(network, images.train, fitting)
        starts: Sequence[transfer.Start] = ()
        count, width = len(images.train), network.get_layer(CLASSIFIER).input.shape[-1]
        few = transfer.few(count, width)
        if few:
            starts = _probed(plan, network, images.train, reporter, interruption)
        form, patterns, why = _form(network, starts) if few else ("all layers", (), "")
        values = _values(plan, network, patterns, count)
    if starts:
        reporter.say(_table(starts))
    why = f"{_size(images.train, width, few=few)}{why and f'; {why}'}"
    reporter.say(f"optimizer.transfer=auto trains {form}: {why}")
    for key, value in values.items():
        reporter.say(f"  {key}={config.setting_text(value)}")
    probes = [dataclasses.asdict(each) for each in starts]
    return {CHOSEN: values, EVIDENCE: {"trained": form, "why": why, "probes": probes}}


def levels(network: Network) -> dict[str, keras.KerasTensor]:
    """Returns the network's feature maps by level, from the first to the last one.

    The last one is the classifier's input.
    """
    last = network.get_layer(POOL).input
    found = {level: tensor for level, tensor in network.pyramid.items() if tensor is not last}
    return {**found, LAST: network.get_layer(CLASSIFIER).input}


def patterns_before(network: Network, end: keras.KerasTensor) -> tuple[str, ...]:
    """Returns patterns for `optimizer.frozen` of all variables that a tensor depends on, and no others.

    Args:
        network: nothing in it is frozen.
        end: one of its tensors.
    """
    before = [variable.path for variable in keras.Model(network.inputs, end).trainable_variables]
    after = {variable.path for variable in network.trainable_variables} - set(before)
    return tuple(dict.fromkeys(_shortest(path, after) for path in before))


def _shortest(path: str, others: Iterable[str]) -> str:
    """Returns the pattern of fewest words that matches a path and no others, such as stage1* or head_conv*."""
    words = path.partition("/")[0].split("_")
    prefixes = ("_".join(words[:count]) for count in range(1, len(words) + 1))
    return next((f"{each}*" for each in prefixes if not any(other.startswith(each) for other in others)), path)


def _probed(
    plan: Plan,
    network: Network,
    images: ImageCache,
    reporter: Reporter,
    interruption: Interruption,
) -> tuple[transfer.Start, ...]:
    """Returns the probes of (some of) the training images, as they are, at the network's resolution."""
    if len(images) > transfer.PROBED:
        images = images.take(folds.subset(images.dataset.labels, transfer.PROBED, seed=0))
    maps, dataset = levels(network), images.dataset
    extractor = keras.Model(network.inputs, list(maps.values()))
    pipeline = plan.evaluation_pipeline(images, network.size)
    key = fingerprint([extractor], pipeline, list(maps), None if dataset.groups is None else dataset.groups.tolist())
    if key in _PROBES:
        return _PROBES[key]
    reporter.say(f"optimizer.transfer=auto: probing the features of {len(images):,} training images")

    @tf.function(autograph=False, jit_compile=False)
    def pooled(pixels: tf.Tensor) -> list[tf.Tensor]:
        found = keras.tree.flatten(extractor(pixels, training=False))  # of one level, it is no list
        return [tf.reduce_mean(each, range(1, each.shape.rank - 1)) for each in found]

    rows: list[list[np.ndarray]] = []
    with reporter.computing("features", len(images)) as advance:
        for batch in pipeline.evaluation_batches():
            interruption.check("training had not started")
            rows.append([each.numpy()[batch["weight"].numpy() > 0] for each in pooled(batch["image"])])
            advance(len(rows[-1][0]))
    arrays = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    _PROBES[key] = transfer.probe(dict(zip(maps, arrays, strict=True)), dataset.labels, dataset.groups)
    return _PROBES[key]


def _size(images: ImageCache, width: int, *, few: bool) -> str:
    """Returns whether the training images are few for a classifier of `width` features, as part of a sentence."""
    counts, limit = images.dataset.class_counts(), 2 * (width + 1)
    reason = f"a linear classifier fits most labelings of up to {limit:,}"
    return (
        f"{len(images):,} training images ({counts.min():,} to {counts.max():,} per class) are "
        f"{'few' if few else 'many'} for {width:,} features ({reason})"
    )


def _table(starts: Sequence[transfer.Start]) -> str:
    """Returns the probes as text."""
    return tables.text(
        [
            {
                "features from": each.level,
                "squared error": f"{each.error:.3f}",
                "above the lowest (95 %)": f"{each.excess:.3f} ± {each.margin:.3f}",
                "accuracy": f"{each.accuracy:.3f}",
            }
            for each in starts
        ]
    )


def _form(network: Network, starts: Sequence[transfer.Start]) -> tuple[str, tuple[str, ...], str]:
    """Returns what is trained, in words; the patterns of what is frozen; and why."""
    maps = levels(network)
    if not starts:
        return "the classifier alone", patterns_before(network, maps[LAST]), "too few to probe earlier features"
    chosen, last = transfer.last_frozen(starts), starts[-1]
    patterns = patterns_before(network, maps[chosen.level])
    if chosen is last:
        return "the classifier alone", patterns, "earlier features do not improve a linear probe"
    why = (
        f"features from {chosen.level} on lower the squared error of a linear probe from {last.error:.3f} to "
        f"{chosen.error:.3f}"
    )
    return f"the layers after {chosen.level}", patterns, why


def _values(plan: Plan, network: Network, patterns: tuple[str, ...], count: int) -> dict[str, Any]:
    """Returns the chosen values by dotted key, without those that the config sets. Freezes the network."""
    freeze(network, patterns)
    trained = [variable.path for variable in network.trainable_variables]
    values: dict[str, Any] = {"optimizer.frozen": patterns}
    factors = plan.update.learning_rate_factors
    if factors:  # those of frozen variables would match nothing, which is an error
        values["optimizer.learning_rate_factors"] = tuple(each for each in factors if _matches(each, trained))
    elif any(not path.startswith(CLASSIFIER) for path in trained):
        values["optimizer.learning_rate_factors"] = transfer.FACTORS
    wanted, parts = plan.training.feature_variants, features.split(network) if patterns else None
    if parts is None:
        wanted = None
    elif wanted is None:
        wanted = _variants(plan, parts[0].output.shape[1:], count)
    if wanted != plan.training.feature_variants:
        values["training.feature_variants"] = wanted
    return values


def _matches(factor: str, paths: Sequence[str]) -> bool:
    """Returns whether the pattern of an item of `optimizer.learning_rate_factors` matches a path."""
    return any(fnmatchcase(path, factor.rpartition("=")[0].strip()) for path in paths)


def _variants(plan: Plan, shape: Sequence[int], count: int) -> int | None:
    """Returns how many augmented variants of each image to store features of; None if they cannot be stored."""
    task = plan.settings.task
    assert isinstance(task, config.ClassificationSettings)
    excluded = task.plain_epochs, task.teachers, plan.training.resolution_factors, plan.settings.data.augment_on_device
    if task.augmentation.mixes or any(excluded):
        return None
    varied = task.augmentation.any or plan.settings.data.augment is not None
    variants = min(VARIANTS, plan.training.epochs) if varied else 1
    size = math.prod(shape) * count * variants * np.dtype(np.float32).itemsize
    return variants if size <= rules.MEMORY_BYTES else None
