"""A detector without a network, for predictions: it finds the bright squares of a black image."""

import cv2
import numpy as np

from tfeff.boxes.tiling import Grid
from tfeff.runs.predictors import DetectorPredictor


class Squares:
    """A model that counts its calls, and is interrupted after some of them."""

    class_names = ("red", "green", "blue")
    score, class_agnostic = 0.5, False

    def __init__(self, limit: float = np.inf) -> None:
        self.calls, self.limit = 0, limit

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.calls == self.limit:
            raise KeyboardInterrupt
        self.calls += 1
        boxes, labels = [], []
        for label in range(3):
            _, _, statistics, _ = cv2.connectedComponentsWithStats((pixels[..., label] > 128).astype(np.uint8))
            for left, top, width, height, _ in statistics[1:]:
                boxes.append([top, left, top + height, left + width])
                labels.append(label)
        return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int32), np.full(len(boxes), 0.9)


class SquaresPredictor(DetectorPredictor):
    """A predictor with `Squares`."""

    def __init__(self, tile: tuple[int, int] | None = None, overlap: int = 0, limit: float = np.inf) -> None:
        self.squares = Squares(limit)
        super().__init__(self.squares, grid=Grid(tile, overlap))


def squares(height: int, width: int, *, seed: int = 0, side: int = 12) -> np.ndarray:
    """Returns a black image with squares that do not touch, uint8 [height, width, 3]."""
    pixels = np.zeros((height, width, 3), np.uint8)
    rng = np.random.default_rng(seed)
    for top in range(0, height - 2 * side, 2 * side):
        for left in range(0, width - 2 * side, 2 * side):
            y, x = np.array((top, left)) + rng.integers(0, side, 2)
            pixels[y : y + side, x : x + side, rng.integers(3)] = 255
    return pixels
