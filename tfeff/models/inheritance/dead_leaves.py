"""Images with the statistics of photographs, for when there are none."""

from collections.abc import Sequence

import numpy as np


def dead_leaves(number: int, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Draws ellipses of random colors and all sizes over each other, with smooth shading and fine texture.

    Lee, Mumford and Huang, "Occlusion models for natural images: a statistical study of a scale-invariant dead leaves
    model" (2001): like photographs, such images have edges, and the same spectrum at every scale.

    Args:
        number: number of images.
        shape: (height, width, channels).
        seed: each image is a function of seed and index.

    Returns:
        float32 (number, *shape) in [0, 255].
    """
    return np.stack([_one(shape, np.random.default_rng((seed, index))) for index in range(number)])


def _one(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    height, width, channels = shape
    side = max(height, width)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    palette = rng.uniform(0, 255, 3)  # the colors of one photograph resemble each other
    image = np.zeros(shape, np.float32)
    least, most = 2.0, side / 2
    for _ in range(150):
        # The inverse of the cumulative distribution of a density of r^-3 between least and most. It alone would rarely
        # draw a large one.
        radius = (least**-2 - rng.uniform() * (least**-2 - most**-2)) ** -0.5
        radius = max(radius, most * rng.uniform() ** 3)
        y, x = rng.uniform(-radius, height + radius), rng.uniform(-radius, width + radius)
        slant = rng.uniform(0.4, 1.0)
        angle = rng.uniform(0, np.pi)
        dy, dx = rows - y, columns - x
        along, across = dy * np.cos(angle) + dx * np.sin(angle), dx * np.cos(angle) - dy * np.sin(angle)
        inside = along**2 + (across / slant) ** 2 < radius**2
        color = np.clip(palette + rng.normal(0, 60, 3), 0, 255)
        if channels == 1:
            color = color.mean(keepdims=True)
        shade = 1 + 0.3 * rng.uniform(-1, 1) * along[inside] / radius
        texture = rng.normal(0, rng.uniform(0, 12), np.count_nonzero(inside))
        image[inside] = color * shade[:, None] + texture[:, None]
    return np.clip(image, 0, 255)
