"""Images of drawn rectangles, in which a box can be found again by its pixels."""

import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfeff.data.augment.annotated_image import AnnotatedImage, annotated
from tfeff.data.augment.counter_rng import Draws

_BLUE = (10, 130, 250, 190)  # of each label


def draw(number: int, objects: int = 1, sides: tuple[int, int] = (40, 120)) -> AnnotatedImage:
    """Image `number`: `objects` rectangles of labels 0, 1, ... on noise, apart from each other, at random places."""
    rng = np.random.default_rng([number, 1])
    height, width = (int(side) for side in rng.integers(*sides, 2))
    pixels = np.repeat(rng.integers(0, 60, (height, width, 1)), 3, axis=-1)
    edges = np.linspace(0, width, objects + 1).astype(int)
    boxes = []
    for label, (first, last) in enumerate(itertools.pairwise(edges)):
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(first, first + (last - first) // 3))
        bottom, right = (
            int(rng.integers(top + height // 3, height + 1)),
            int(rng.integers((first + last) // 2 + 1, last)),
        )
        pixels[top:bottom, left:right] = 255, 0, _BLUE[label]
        boxes.append((top, left, bottom, right))
    return annotated(tf.constant(pixels, tf.float32), tf.constant(boxes), tf.range(objects))


def find(image: np.ndarray, label: int) -> np.ndarray:
    """Returns the box, yxyx, around the pixels of a label's rectangle."""
    marked = (image[..., 0] - image[..., 1] > 127) & (np.abs(image[..., 2] - _BLUE[label]) < 40)
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def draws(index: int, *, seed: int = 0, epoch: int = 0) -> Draws:
    """Returns one example."""
    return Draws(seed, tf.constant(epoch), tf.constant([index], tf.int64), tf.zeros(1, tf.int64))


SIGNATURE = AnnotatedImage(
    image=tf.TensorSpec((None, None, 3), tf.float32),
    covered=tf.TensorSpec((None, None, 1), tf.bool),
    boxes_yxyx=tf.TensorSpec((None, 4), tf.float32),
    labels=tf.TensorSpec((None,), tf.int32),
    difficult=tf.TensorSpec((None,), tf.bool),
    crowd=tf.TensorSpec((None,), tf.bool),
    visible=tf.TensorSpec((None,), tf.float32),
    extra_boxes_yxyx=tf.TensorSpec((None, 4), tf.float32),
)


def traced(step: Callable[[AnnotatedImage, Draws], AnnotatedImage]) -> Callable[[AnnotatedImage, int], AnnotatedImage]:
    """A step of augmentation as one graph for images of all sizes; over many images, ten times as fast as eagerly."""
    specs = (SIGNATURE, tf.TensorSpec((), tf.int64))
    graph = tf.function(
        lambda image, index: step(image, Draws(0, tf.constant(0), index[tf.newaxis], tf.zeros(1, tf.int64))),
        input_signature=specs,
        autograph=False,
        jit_compile=False,
    )
    return lambda image, index: graph(image, tf.constant(index, tf.int64))
