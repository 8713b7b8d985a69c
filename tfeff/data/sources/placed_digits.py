"""Handwritten digits placed on crops of photographs: real drawings, real texture, exact boxes, and nothing to download.

The drawings are scikit-learn's 1,797 digits (8x8, UCI repository; Alpaydin and Kaynak 1998); the texture comes from its
two sample photographs. Each digit is enlarged with sharp edges, rotated a little, and drawn in a color that contrasts
with the background. An image is a function of (dataset, split, index, canvas size), independent of the order of
reading.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tfeff.data import folds
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import DrawnImages
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL
from tfeff.errors import UserError, nearest

SPLITS = ("train", "validation", "test")
COUNTS = {"train": 3000, "validation": 400, "test": 800}
"""Images of each split."""
CANVAS = (128, 128)
"""Default (height, width) in pixels."""
MIN_SIDE = 48
"""Minimum side of a canvas; on smaller ones, the smallest digits would be illegible."""
_HELD_OUT = 0.3  # share of the digits for validation and test, half each
_TRIES = 20
_Box = tuple[int, int, int, int]
_SPLIT_SEED = 0
_VERSION = 1  # Version and seed are part of the datasets' definition: results compare only on the same images.


@dataclass(frozen=True)
class Placement:
    """How a dataset's digits are placed on their canvases.

    Attributes:
        objects: minimum and maximum number of digits; digits that find no free place are dropped, so the maximum is
            rare.
        side: range of the side of a digit's square (ink and margin), relative to the canvas' shorter side; log-uniform.
        angle: maximum rotation in degrees.
        aspect: maximum factor by which width and height are stretched against each other.
        overlap: maximum share of the smaller of two digits' boxes that lies in the other box.
        contrast: minimum difference in luma between a digit and its background, if one of 16 random colors has it.
    """

    objects: tuple[int, int]
    side: tuple[float, float]
    angle: float = 15.0
    aspect: float = 1.25
    overlap: float = 0.2
    contrast: float = 90.0


PLACEMENTS = {
    "placed_digits": Placement(objects=(1, 6), side=(0.2, 0.7)),
    "single_digits": Placement(objects=(1, 1), side=(0.35, 0.75)),
}
"""Dataset -> how it is drawn: for detection, and for localization (one object per image)."""
NAMES = tuple(PLACEMENTS)


@dataclass(frozen=True, eq=False)
class _Digit:
    """Ink uint8 [height, width], the position of its first pixel, and the box around pixels with at least half ink."""

    ink: np.ndarray
    top: int
    left: int
    box_yxyx: _Box
    label: int


class PlacedDigits(Source):
    """Handwritten digits on photographs. No digit appears in two splits. Images are PNG, drawn when they are read.

    Args:
        name: `placed_digits` (1 to 6 objects per image) or `single_digits` (one), also with the side of the canvas in
            pixels: `placed_digits:96`.
        options: `channels` applies.

    Raises:
        UserError: an unknown name, or a canvas that is too small.
    """

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(f"embedded:{name}", options)
        self._dataset, _, side = name.partition(":")
        if self._dataset not in PLACEMENTS:
            hint = nearest(self._dataset, NAMES)
            raise UserError(f"embedded:{self._dataset}: no such dataset with boxes; {hint}")
        if side and not side.isdecimal():
            raise UserError(
                f'dataset "embedded:{name}": "{side}" is not a size in pixels; write embedded:{self._dataset}:128'
            )
        self._canvas = (int(side), int(side)) if side else CANVAS
        if min(self._canvas) < MIN_SIDE:
            raise UserError(
                f"embedded:{name}: canvas {self._canvas} is too small; its sides must be at least {MIN_SIDE}"
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """`train`, `validation` and `test`."""
        return SPLITS

    def _load(self, split: str) -> Dataset:
        from sklearn.datasets import load_digits, load_sample_images  # takes a second to import

        bunch, photographs = load_digits(), load_sample_images().images
        levels = np.stack([_enlarged(image) for image in np.rint(bunch.images * (255 / 16)).astype(np.uint8)])
        rows = _rows_of_splits(bunch.target)
        placement, canvas = PLACEMENTS[self._dataset], self._canvas
        index = [(part, number) for part in (SPLITS if split == ALL else (split,)) for number in range(COUNTS[part])]

        def digits(part: str, number: int) -> tuple[list[_Digit], np.random.Generator]:
            rng = np.random.default_rng([_VERSION, NAMES.index(self._dataset), SPLITS.index(part), number])
            return _placed(levels[rows[part]], bunch.target[rows[part]], placement, canvas, rng), rng

        def draw(place: int) -> bytes:
            on_canvas, rng = digits(*index[place])
            image = _painted(_texture(photographs, canvas, rng), on_canvas, placement.contrast, rng)
            return cv2.imencode(".png", image[..., ::-1])[1].tobytes()

        name = f"{self.name}/{split}"
        return Dataset(
            name=name,
            class_names=tuple(str(digit) for digit in bunch.target_names),
            ids=[f"{part}-{number:05}" for part, number in index],
            images=DrawnImages(len(index), draw, f"{name}/{_VERSION}"),
            channels=self.options.channels,
            objects=[_objects(digits(*key)[0]) for key in index],
            sizes=np.tile(np.array(canvas, np.int32), (len(index), 1)),
        )


def _rows_of_splits(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns split -> indices of its digits, stratified."""
    fold = folds.holdout(labels, _HELD_OUT, _SPLIT_SEED)
    half = folds.holdout(labels[fold.validation], 0.5, _SPLIT_SEED)
    return {
        "train": fold.train,
        "validation": fold.validation[half.train],
        "test": fold.validation[half.validation],
    }


def _objects(digits: list[_Digit]) -> Objects:
    none = np.zeros(len(digits), bool)
    return Objects(
        boxes_yxyx=np.array([digit.box_yxyx for digit in digits], np.float32),
        labels=np.array([digit.label for digit in digits], np.int32),
        difficult=none,
        crowd=none,
    )


def _placed(
    levels: np.ndarray, labels: np.ndarray, placement: Placement, canvas: tuple[int, int], rng: np.random.Generator
) -> list[_Digit]:
    """Places digits with little overlap, large ones first, so that no small one is hidden."""
    low, high = placement.objects
    count = int(rng.integers(low, high + 1))
    smallest, largest = placement.side
    sides = min(canvas) * smallest * (largest / smallest) ** rng.random(count)
    digits = list[_Digit]()
    for side in np.sort(sides)[::-1]:
        row = int(rng.integers(len(labels)))
        ink = _ink(levels[row], side, placement, rng)
        first, last = _extent(ink > 127)
        room = np.array(canvas) - ink.shape + 1
        for top, left in (rng.random((_TRIES, 2)) * room).astype(int).tolist():
            box = first[0] + top, first[1] + left, last[0] + top, last[1] + left
            if all(_overlap(box, other.box_yxyx) <= placement.overlap for other in digits):
                digits.append(_Digit(ink, top, left, box, int(labels[row])))
                break
    return digits


def _enlarged(levels: np.ndarray) -> np.ndarray:
    """Enlarges a digit five times, with a margin in which strokes end smoothly."""
    return cv2.resize(np.pad(levels, 1), None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)


def _ink(levels: np.ndarray, side: float, placement: Placement, rng: np.random.Generator) -> np.ndarray:
    """Scales and rotates a digit and crops it to its ink: uint8 [height, width].

    Whole numbers throughout, so that a box does not depend on the last bit of an interpolation.
    """
    angle = math.radians(rng.uniform(-placement.angle, placement.angle))
    aspect = placement.aspect ** rng.uniform(-0.5, 0.5)
    reach = math.ceil(side * math.sqrt(placement.aspect) * (math.cos(angle) + abs(math.sin(angle))))
    scale = side / levels.shape[0]
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cosine * aspect, -sine / aspect], [sine * aspect, cosine / aspect]])
    middle = (np.array(levels.shape[::-1]) - 1) / 2
    matrix = np.column_stack([linear, (reach - 1) / 2 - linear @ middle])
    smooth = cv2.warpAffine(levels, matrix, (reach, reach), flags=cv2.INTER_LINEAR)
    # Half-dark pixels are the borders of strokes; a steep curve turns them into sharp edges.
    ink = np.clip((smooth.astype(np.int32) - 96) * 8 // 3, 0, 255).astype(np.uint8)
    (top, left), (bottom, right) = _extent(ink > 0)
    return ink[top:bottom, left:right]


def _extent(marked: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (top, left) and (bottom, right) of the box around all True pixels of a mask, bool [height, width]."""
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    return (int(rows[0]), int(columns[0])), (int(rows[-1]) + 1, int(columns[-1]) + 1)


def _overlap(one: _Box, other: _Box) -> float:
    """Returns the intersection of two boxes, relative to the smaller one."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(0, height) * max(0, width) / smaller


def _texture(photographs: list[np.ndarray], canvas: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Returns a crop of a photograph, resized, randomly flipped, with permuted channels: uint8 [*canvas, 3]."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    # At least a quarter of the largest crop: a smaller one would be blurred.
    share = rng.uniform(0.25, 1.0) * min(np.array(photograph.shape[:2]) / canvas)
    size = np.maximum(1, np.rint(share * np.array(canvas))).astype(int)
    top, left = rng.integers(0, np.array(photograph.shape[:2]) - size + 1)
    piece = photograph[top : top + size[0], left : left + size[1]]
    piece = piece[:, :: rng.choice([-1, 1]), rng.permutation(3)]
    shrinks = size[0] > canvas[0]
    return cv2.resize(
        np.ascontiguousarray(piece), canvas[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )


def _painted(canvas: np.ndarray, digits: list[_Digit], contrast: float, rng: np.random.Generator) -> np.ndarray:
    """Paints each digit in one color: uint8 in the canvas' shape."""
    image = canvas.copy()
    luma = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    for digit in digits:
        height, width = digit.ink.shape
        window = np.s_[digit.top : digit.top + height, digit.left : digit.left + width]
        below = image[window].astype(np.int32)
        colors = rng.integers(0, 256, (16, 3))
        difference = np.abs((colors - below.mean(axis=(0, 1))) @ luma)
        enough = np.flatnonzero(difference >= contrast)
        color = colors[enough[0] if len(enough) else difference.argmax()]
        ink = digit.ink[..., None].astype(np.int32)
        image[window] = (below * (255 - ink) + color * ink + 127) // 255
    return image
