"""Regions without images, whose features encode their class and box code."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from tfeff.boxes.assignment import Regions
from tfeff.boxes.coding import encode
from tfeff.rcnn.regions import RegionSet

SIZE, CLASSES = 24, 3
NAMES = ("a", "b", "c")


def examples(seed: int, count: int = 3000, names: tuple[str, ...] = NAMES) -> tuple[RegionSet, np.ndarray, np.ndarray]:
    """Returns regions, their boxes and those of their objects; features are in a random basis, with noise.

    Each region overlaps an object of its own class only.
    """
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, count)
    overlap = np.where(rng.random(count) < 0.5, rng.uniform(0.55, 1, count), rng.uniform(0, 0.3, count))
    low = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(20, 40, (count, 2))], axis=1)
    objects = boxes + rng.normal(0, 2.0, (count, 4))
    codes = encode(objects, boxes)
    hidden = np.zeros((count, CLASSES + 1 + 4))
    hidden[np.arange(count), np.where(overlap > 0.5, label, CLASSES)] = 3.0
    hidden[:, CLASSES + 1 :] = 20 * codes
    basis = np.random.default_rng(0).normal(size=(hidden.shape[1], SIZE))
    features: Any = (hidden @ basis + rng.normal(0, 0.3, (count, SIZE)) + 5).astype(np.float16)
    images: Any = SimpleNamespace(num_classes=len(names), class_names=names)
    regions = RegionSet(images, (), features, np.array([count]))
    targets = Regions(
        overlap=overlap.astype(np.float32),
        label=label.astype(np.int32),
        code=codes.astype(np.float32),
        is_object=overlap > 0.9,
        covered=rng.random(count) < 0.2,
        image=np.zeros(count, np.int32),
    )
    class_overlaps = np.zeros((count, len(names)), np.float32)
    class_overlaps[np.arange(count), label] = overlap
    vars(regions).update(targets=targets, class_overlaps=class_overlaps)
    return regions, boxes, objects
