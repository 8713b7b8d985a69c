"""Cluttered digits: small, rotated handwritten digits at random places, over fragments of other digits.

Any network classifies plain digits. This harder set leaves room for improvement: the digit covers only part of the
image, its position, size and angle vary, and its surroundings look similar (as in cluttered MNIST: Mnih et al.,
arXiv:1406.6247, section 4.2).
"""

import math

import tensorflow as tf

from tfeff.data.augment import geometry
from tfeff.data.augment.counter_rng import Draws, Purpose

SIDE = 32
"""Height and width of a canvas in pixels."""
DIGIT_SIDE = (12.0, 22.0)
"""Range of the side of a digit's square on the canvas, in pixels; fragments are enlarged by the same factors."""
DIGIT_ANGLE = 25.0
"""Maximum rotation of a digit in degrees; fragments have any angle."""
DIGIT_INK = (0.8, 1.0)
"""Range of a digit's brightness; white is 1."""
PIECES = 4
"""Fragments of other digits per canvas."""
PIECE_SIDE = (3, 5)
"""Range of the height and width of a fragment, in pixels of the original digit."""
PIECE_INK = (0.15, 0.4)
"""Range of a fragment's brightness."""
BACKGROUND = 0.3
"""Maximum brightness of the background gradient at either end."""
NOISE = 0.05
"""Maximum noise of a pixel."""
_SEED = 0  # part of the dataset's definition: results compare only on the same canvases.


def draw(digits: tf.Tensor, canvases: int, part: int) -> tf.Tensor:
    """Draws canvases with one complete digit each: canvas i shows digit i modulo n.

    Args:
        digits: float32 [n, height, width] in [0, 1], where ink is 1; n at least 2.
        canvases: number of canvases.
        part: number of the set of canvases; each set uses different random numbers.

    Returns:
        uint8 [canvases, SIDE, SIDE, 1].
    """
    index = tf.range(canvases, dtype=tf.int64)

    def chance(purpose: Purpose, count: int, repeat: int = 0) -> tf.Tensor:
        repeats = tf.fill([canvases], tf.constant(repeat, tf.int64))
        return Draws(_SEED, tf.constant(part), index, repeats).uniform(purpose, count)

    # Ink covers what is below it; where fragments overlap, the brighter one is visible.
    scene = _background(chance(Purpose.BACKGROUND, 3))
    clutter = tf.zeros_like(scene)
    for piece in range(PIECES):
        clutter = tf.maximum(clutter, _piece(digits, index, chance(Purpose.PIECE, 10, repeat=piece)))
    digit = _digit(tf.gather(digits, index % len(digits)), chance(Purpose.DIGIT, 5))
    for layer in (clutter, digit):
        scene = layer + scene * (1 - layer)
    scene += NOISE * (2 * tf.reshape(chance(Purpose.NOISE, SIDE * SIDE), scene.shape) - 1)
    return tf.saturate_cast(tf.round(255 * scene), tf.uint8)[..., tf.newaxis]


def _background(chance: tf.Tensor) -> tf.Tensor:
    """Draws linear gradients in random directions: [m, SIDE, SIDE]."""
    angle = 2 * math.pi * chance[:, 0, tf.newaxis, tf.newaxis]
    place = tf.linspace(-0.5, 0.5, SIDE)
    down, right = tf.sin(angle), tf.cos(angle)
    along = (down * place[:, tf.newaxis] + right * place) / (tf.abs(down) + tf.abs(right)) + 0.5
    first, last = tf.split(BACKGROUND * chance[:, 1:3, tf.newaxis], 2, axis=1)
    return first + (last - first) * along


def _digit(digits: tf.Tensor, chance: tf.Tensor) -> tf.Tensor:
    """Rotates each digit a little and places it completely inside the canvas: [m, h, w] -> [m, SIDE, SIDE]."""
    chance = tf.cast(chance, tf.float64)
    side = _between(chance[:, 0], DIGIT_SIDE)
    angle = (2 * chance[:, 1] - 1) * math.radians(DIGIT_ANGLE)
    room = SIDE - side * (tf.abs(tf.sin(angle)) + tf.cos(angle))
    return _inked(_placed(digits, side, angle, room, chance[:, 3:5]), chance[:, 2], DIGIT_INK)


def _piece(digits: tf.Tensor, index: tf.Tensor, chance: tf.Tensor) -> tf.Tensor:
    """Draws on each canvas a fragment of another one's digit at any angle and place: [n, h, w] -> [m, SIDE, SIDE]."""
    chance = tf.cast(chance, tf.float64)
    others = len(digits) - 1
    other = (index + 1 + tf.cast(chance[:, 0] * others, tf.int64)) % len(digits)
    rows = _interval(digits.shape[1], chance[:, 1], chance[:, 2])[:, :, tf.newaxis]
    columns = _interval(digits.shape[2], chance[:, 3], chance[:, 4])[:, tf.newaxis, :]
    cut = tf.where(rows & columns, tf.gather(digits, other), 0.0)
    side = _between(chance[:, 5], DIGIT_SIDE)
    room = tf.fill(tf.shape(side), tf.constant(SIDE, tf.float64))
    placed = _placed(cut, side, 2 * math.pi * chance[:, 7], room, chance[:, 8:10])
    return _inked(placed, chance[:, 6], PIECE_INK)


def _interval(length: int, extent: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns masks of random intervals of `length` pixels: bool [m, length]."""
    low, high = PIECE_SIDE
    side = tf.floor(_between(extent, (low, high + 1)))
    first = tf.floor(place * (length - side + 1))[:, tf.newaxis]
    pixel = tf.range(length, dtype=tf.float64)
    return (pixel >= first) & (pixel < first + side[:, tf.newaxis])


def _placed(drawings: tf.Tensor, side: tf.Tensor, angle: tf.Tensor, room: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Scales drawings [m, h, w] to `side` pixels, rotates them by `angle` (radians), and places them on black canvases.

    Their centers are at `place` ([m, 2], in [0, 1)) of a centered square of `room` pixels. Returns [m, SIDE, SIDE].
    """
    margins = [[(SIDE - length) // 2, (SIDE - length + 1) // 2] for length in drawings.shape[1:]]
    centered = tf.pad(drawings, [[0, 0], *margins])[..., tf.newaxis]
    shrinkage = drawings.shape[1] / side
    cosine, sine = shrinkage * tf.cos(angle), shrinkage * tf.sin(angle)
    linear = tf.reshape(tf.stack([cosine, -sine, sine, cosine], axis=-1), (-1, 2, 2))
    shift = room[:, tf.newaxis] * (place - 0.5)
    return geometry.resample(centered, linear, shift, fill_mode="CONSTANT")[..., 0]


def _inked(drawings: tf.Tensor, chance: tf.Tensor, limits: tuple[float, float]) -> tf.Tensor:
    return drawings * tf.cast(_between(chance, limits), tf.float32)[:, tf.newaxis, tf.newaxis]


def _between(chance: tf.Tensor, limits: tuple[float, float]) -> tf.Tensor:
    return limits[0] + (limits[1] - limits[0]) * chance
