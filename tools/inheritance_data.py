"""Images of `compare_inheritance`, their augmentation, initial weights and a linear probe."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from inheritance_jobs import DATA, SEED, Data, Job, scaled
from keras import ops
from PIL import Image

from tfeff import models
from tfeff.errors import UserError
from tfeff.networks.heads import CLASSIFIER

BATCH = 32
CHUNK = 100
"""Images that are tested at once."""
PER_CLASS = 200
"""The first images of each class of CIFAR-10, in training and in the test."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Square images and labels: uint8 (n, side, side, 3), int32 (n,)."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def load(name: str, directory: Path, limit: int | None = None) -> Images:
    """Reads DIR/NAME/SPLIT/CLASS/*.jpg.

    Args:
        name: name of the data set in `DATA`.
        directory: folder with a folder for each data set.
        limit: images of each class and split.
    """
    found = list[np.ndarray]()
    for split in ("train", "test" if name == "cifar10" else "val"):
        root = directory / name / split
        if not root.is_dir():
            raise UserError(f"--data={directory}: no folder {name}/{split}")
        images, labels = list[np.ndarray](), list[int]()
        for label, folder in enumerate(sorted(each for each in root.iterdir() if each.is_dir())):
            files = sorted(each for each in folder.iterdir() if each.suffix.lower() in (".jpg", ".jpeg", ".png"))
            for file in files[: limit or (PER_CLASS if name == "cifar10" else None)]:
                side = DATA[name].side
                picture = Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
                images.append(np.asarray(picture))
                labels.append(label)
        found += [np.stack(images), np.asarray(labels, np.int32)]
    return Images(*found)


def hold_out(images: Images) -> Images:
    """Makes every fifth training image a test image, in place of the test images."""
    out = np.arange(len(images.train)) % 5 == 0
    return Images(images.train[~out], images.train_labels[~out], images.train[out], images.train_labels[out])


def views(images: Any, boxes: Any, resolution: int) -> Any:
    """Crops, resized by bilinear interpolation (with a wider triangle where that reduces the size), perhaps mirrored.

    Args:
        images: (n, side, side, 3).
        boxes: float32 (n, 4): y and x of the upper left corner and the side, relative to the image's side; mirrored: 1.
        resolution: side of the results, in pixels.

    Returns:
        float32 (n, resolution, resolution, 3).
    """
    side, boxes = images.shape[1], ops.convert_to_tensor(boxes)

    def weights(offset: Any, mirrored: Any) -> Any:
        scale = boxes[:, 2] * (side / resolution)
        places = ops.arange(resolution, dtype="float32")[None] + 0.5
        places = ops.where(mirrored[:, None] > 0.5, resolution - places, places)
        places = ops.clip(offset[:, None] * side + places * scale[:, None] - 0.5, 0, side - 1)
        reach = ops.maximum(scale, 1.0)[:, None, None]
        distance = ops.abs(places[..., None] - ops.arange(side, dtype="float32"))
        found = ops.maximum(0.0, 1.0 - distance / reach)
        return found / ops.sum(found, axis=-1, keepdims=True)

    rows = ops.einsum("bry,byxc->brxc", weights(boxes[:, 0], boxes[:, 3] * 0.0), ops.cast(images, "float32"))
    return ops.einsum("bsx,brxc->brsc", weights(boxes[:, 1], boxes[:, 3]), rows)


def whole(count: int) -> np.ndarray:
    """Returns boxes of whole images."""
    return np.tile(np.float32([0, 0, 1, 0]), (count, 1))


def draw(data: Data, count: int, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the order and augmentation of an epoch: int32 (steps, batch) and float32 (steps, batch, 4)."""
    rng = np.random.default_rng([seed, epoch])
    steps = max(1, count // BATCH)
    order = np.resize(rng.permutation(count), (steps, BATCH)).astype(np.int32)
    side = rng.uniform(data.crop, 1.0, order.shape)
    offsets = [rng.uniform(0, 1 - side) + rng.uniform(-data.shift, data.shift, order.shape) for _ in range(2)]
    return order, np.stack([*offsets, side, rng.integers(0, 2, order.shape)], axis=-1).astype(np.float32)


def rates(peak: float, steps: int) -> np.ndarray:
    """Returns the learning rate of each step: linear warm-up in the first tenth, then a cosine to zero."""
    warm = max(1, steps // 10)
    now = np.arange(steps)
    cosine = 0.5 * (1 + np.cos(np.pi * (now - warm + 1) / (steps - warm + 1)))
    return (peak * np.where(now < warm, (now + 1) / warm, cosine)).astype(np.float32)


def described(job: Job, resolution: int | None, **options: Any) -> Any:
    """Returns the description of a job's network.

    Args:
        resolution: input side in pixels; None: the job's.
    """
    network = scaled(job.data, job.network)
    assert network is not None
    options = {**network.options, "dropout": 0.0, "survival_probability": 1.0, **options}
    if resolution:
        options["resolution"] = resolution
    if job.variant == "momentum0.9":
        options["bn_momentum"] = 0.9
    return models.architecture(network.name, **options)


@contextmanager
def uninitialized() -> Iterator[None]:
    """Builds networks in its context with zeros, because JAX compiles a random generator for each shape of kernel."""
    initializer = keras.initializers.VarianceScaling
    call = initializer.__call__
    initializer.__call__ = lambda _, shape, dtype=None, **__: np.zeros(shape, dtype or "float32")
    try:
        yield
    finally:
        initializer.__call__ = call


def initial_weights(job: Job, images: Images, seeds: int, resolution: int | None = None) -> dict[str, Any]:
    """Returns initial weights, and a report on inheritance.

    The weights are one array for all seeds or, for a random start, (seeds, ...).
    """
    classes = DATA[job.data].classes
    if job.start == "random":
        networks = []
        for seed in range(seeds):
            keras.utils.set_random_seed(seed)
            networks.append(models.build(described(job, resolution), num_classes=classes))
        return {"arrays": [np.stack(each) for each in zip(*map(arrays, networks), strict=True)], "report": ""}
    source = {"grown": "efficientnet-lite0", "shrunk": "efficientnet-lite2", "inherited": "imagenet"}[job.start]
    wanted = described(job, resolution, weights=source)
    chosen = np.random.default_rng(SEED).permutation(len(images.train))[: models.INHERITANCE_IMAGES]
    fitted_to = ops.convert_to_numpy(views(images.train[chosen], whole(len(chosen)), wanted.resolution))
    with uninitialized():  # `with_heads` draws the new classifier
        network = models.build(dataclasses.replace(wanted, weights=None), num_classes=classes)
        report = models.initialize(network, wanted, fitted_to)
    return {"arrays": arrays(network), "report": str(report)}


def arrays(network: Any) -> list[np.ndarray]:
    """Returns the weights of a network."""
    return [ops.convert_to_numpy(weight) for weight in network.weights]


def with_heads(network: Any, initial: list[np.ndarray], job: Job, seeds: list[int]) -> list[np.ndarray]:
    """Returns weights of every seed, (seeds, ...).

    The classifiers of pretrained networks are drawn (Glorot, uniform).
    """
    if job.start == "random":
        return [each[seeds] for each in initial]
    found = []
    for weight, array in zip(network.weights, initial, strict=True):
        if CLASSIFIER in weight.path:
            limit = np.sqrt(6 / sum(array.shape)) if array.ndim == 2 else 0.0
            drawn = [np.random.default_rng([SEED, seed]).uniform(-limit, limit, array.shape) for seed in seeds]
            found.append(np.stack(drawn).astype(np.float32))
        else:
            found.append(np.repeat(array[None], len(seeds), axis=0))
    return found


def probe(features: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Returns the accuracy of ridge regression on standardized features.

    Its strength has the least leave-one-out error.
    """
    mean, std = features.mean(axis=0), features.std(axis=0) + 1e-6
    x, targets = (features - mean) / std, np.eye(labels.max() + 1)[labels]
    center = targets.mean(axis=0)
    left, values, right = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    projected = left.T @ (targets - center)

    def error(strength: float) -> float:
        shrink = values**2 / (values**2 + strength)
        residual = targets - center - (left * shrink) @ projected
        leverage = np.einsum("ij,j,ij->i", left, shrink, left) + 1 / len(x)
        return float(np.square(residual / np.maximum(1 - leverage, 1e-6)[:, None]).mean())

    strength = min((values[0] ** 2 * 10.0 ** np.arange(-6, 1.1, 0.5)), key=error)
    weights = (right.T * (values / (values**2 + strength))) @ projected
    return float((np.argmax((test - mean) / std @ weights + center, axis=1) == test_labels).mean())
