"""Images of red disks and blue squares on gray noise: objects that a small detector learns in seconds."""

from pathlib import Path

import cv2
import numpy as np

from tfeff.boxes.formats import cyxhw_from_yxyx, relative_from_yxyx

NAMES = ("disk", "square")
SIDE = 64
"""Height and width of an image."""


def shapes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns an image with one or two objects that do not overlap.

    Returns:
        uint8 [64, 64, 3]; boxes, float32 [n, 4], yxyx in pixels; labels, int32 [n].
    """
    pixels = cv2.GaussianBlur(rng.integers(90, 166, (SIDE, SIDE, 3)).astype(np.float32), (5, 5), 0)
    boxes, labels = [], []
    for half in rng.permutation(2)[: rng.integers(1, 3)]:  # each object has the left or the right half to itself
        side = rng.integers(16, 29)
        top, left = rng.integers(0, SIDE - side), half * SIDE // 2 + rng.integers(0, SIDE // 2 - side + 1)
        inside = np.ones((side, side), bool)
        label = rng.integers(2)
        if label == 0:
            y, x = np.mgrid[:side, :side] + 0.5 - side / 2
            inside = y * y + x * x <= side * side / 4
        pixels[top : top + side, left : left + side][inside] = ((200, 40, 40), (40, 40, 200))[label]
        boxes.append([top, left, top + side, left + side])
        labels.append(label)
    return pixels.round().astype(np.uint8), np.array(boxes, np.float32), np.array(labels, np.int32)


def write_yolo(root: Path, images: int) -> Path:
    """Writes a YOLO dataset without splits into an empty folder, and returns it."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("\n".join(NAMES))
    for index in range(images):
        pixels, boxes, labels = shapes(rng)
        cv2.imwrite(str(root / "images" / f"{index:03}.png"), pixels[..., ::-1])
        rows = cyxhw_from_yxyx(relative_from_yxyx(boxes, (SIDE, SIDE)))
        lines = [f"{label} {x} {y} {w} {h}" for label, (y, x, h, w) in zip(labels, rows, strict=True)]
        (root / "labels" / f"{index:03}.txt").write_text("\n".join(lines))
    return root
