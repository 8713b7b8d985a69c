"""Compares detection in tiles of a mosaic with detection in its single images.

    python tools/compare_tiles.py --workdir=DIR --source=voc:DIR2 --out=mosaic.png [--tiles=480x640:240]

Fills a gray mosaic with images of one size, from its top left corner. Detects, with the run's default detector and
threshold, in each image, in its mirrored copy, and in tiles of the mosaic (HEIGHTxWIDTH:OVERLAP, in pixels;
several are separated by commas). The table shows, for each of them,

- how many annotated objects are found (same class, IoU of at least 0.5),
- recall: the share of the single images' detections that it repeats; precision: the share of its own detections that
  the single images have,
- the same if the other side's detections count at 90 % of the threshold or above, so that only real differences remain.

The mirrored images show how much detections change for other reasons than tiles. Writes the mosaic as a PNG file.
"""

import argparse
import re

import command_line
import numpy as np
from PIL import Image

from tfeff import runs
from tfeff.boxes import Tiling, iou
from tfeff.boxes.tiling import COMPARABLE
from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.reporting import tables
from tfeff.reporting.progress import Bar
from tfeff.runs.predictors import DetectorPredictor
from tfeff.serving.detector import ExportedDetector

LOWER = 0.9
"""Score at which the detections of the other side count, relative to the threshold."""
Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""boxes_yxyx, labels, scores."""


def above(detections: Found, score: float) -> Found:
    """Returns detections with at least this score."""
    boxes, labels, scores = (each[detections[2] >= score] for each in detections)
    return boxes, labels, scores


def joined(parts: list[Found], corners: np.ndarray) -> Found:
    """Returns detections of several images in a mosaic, whose top left corners are given, [n, 2]."""
    boxes = [boxes + np.tile(corner, 2) for (boxes, _, _), corner in zip(parts, corners, strict=True)]
    return (
        np.concatenate(boxes),
        np.concatenate([each[1] for each in parts]),
        np.concatenate([each[2] for each in parts]),
    )


def matched(first: Found, second: Found) -> int:
    """Returns the number of pairs of the same class, one to one, by descending IoU of at least 0.5."""
    overlaps = iou(first[0], second[0]) * (first[1][:, None] == second[1])
    rows, columns = np.nonzero(overlaps >= 0.5)
    pairs: list[tuple[int, int]] = []
    for index in np.argsort(-overlaps[rows, columns]):
        row, column = rows[index], columns[index]
        if all(row != pair[0] and column != pair[1] for pair in pairs):
            pairs.append((row, column))
    return len(pairs)


def size_of(text: str) -> tuple[int, int]:
    """Returns (height, width) of HEIGHTxWIDTH."""
    sides = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not sides:
        raise UserError(f"{text}: give the size in pixels, as HEIGHTxWIDTH")
    return int(sides[1]), int(sides[2])


def tiles_of(text: str) -> tuple[tuple[int, int], int]:
    """Returns (height, width) and overlap of HEIGHTxWIDTH:OVERLAP."""
    tile, _, overlap = text.partition(":")
    size = size_of(tile)
    if not overlap.isdecimal() or int(overlap) >= min(size):
        raise UserError(f"{text}: give HEIGHTxWIDTH:OVERLAP in pixels, with an overlap smaller than the tile")
    return size, int(overlap)


def share(part: int, whole: int) -> float | None:
    """Returns a ratio; None if there is nothing to divide by."""
    return part / whole if whole else None


def main() -> None:
    """Detects everywhere and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="Workdir of a finished R-CNN run.")
    parser.add_argument("--source", required=True, help="Dataset with boxes; its images have one size.")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", required=True, help="PNG file to write.")
    parser.add_argument("--size", default="3000x4000", help="HEIGHTxWIDTH of the mosaic.")
    parser.add_argument("--tiles", default="480x640:240", help="HEIGHTxWIDTH:OVERLAP, separated by commas.")
    arguments = parser.parse_args()
    dataset = catalog.open_objects(arguments.source).load(arguments.split)
    tilings = [tiles_of(text) for text in arguments.tiles.split(",")]
    size = np.array(size_of(arguments.size))
    sides = np.array(decoding.encoded_size(dataset.encoded(0), dataset.ids[0]))
    grid = size // sides
    if not grid.all():
        raise UserError(f"--size={arguments.size}: smaller than an image, {sides[0]}x{sides[1]}")
    numbers = range(min(grid.prod(), len(dataset)))
    images = [decoding.decode(dataset.encoded(number), dataset.ids[number]) for number in numbers]
    corners = np.stack(np.divmod(numbers, grid[1]), axis=1) * sides
    mosaic = np.full((*size, 3), 200, np.uint8)
    for number, image, (top, left) in zip(numbers, images, corners, strict=True):
        if image.shape[:2] != tuple(sides):
            raise UserError(f"{arguments.source}: images of one size are required, {dataset.ids[number]} has another")
        mosaic[top : top + sides[0], left : left + sides[1]] = image
    Image.fromarray(mosaic).save(arguments.out)

    detector = ExportedDetector(runs.open_run(arguments.workdir).saved_model)
    threshold, lower = detector.score, LOWER * detector.score
    predictor = DetectorPredictor(detector, COMPARABLE * lower)  # what merging tiles reads

    def detect(pictures: list[np.ndarray], title: str) -> list[Found]:
        parts = []
        with Bar(title, len(pictures), "images") as bar:
            for pixels in pictures:
                found = predictor.detect(np.ascontiguousarray(pixels))
                parts.append((found.boxes_yxyx.astype(np.float64), found.labels, found.scores))
                bar.show(len(parts))
        return parts

    single = above(joined(detect(images, "single images"), corners), lower)
    expected = above(single, threshold)
    if not len(expected[0]):
        raise UserError(f"no detections in the single images with a score of at least {threshold:.3f}")
    mirrored = detect([image[:, ::-1] for image in images], "mirrored images")
    for boxes, _, _ in mirrored:
        boxes[:, [1, 3]] = sides[1] - boxes[:, [3, 1]]
    in_mirrored = above(joined(mirrored, corners), lower)
    variants = {"single images": {lower: single, threshold: expected}}
    variants["mirrored images"] = {lower: in_mirrored, threshold: above(in_mirrored, threshold)}
    for (height, width), overlap in tilings:
        tiling = Tiling(mosaic.shape[:2], (height, width), overlap)
        tiles = [mosaic[a:c, b:d] for a, b, c, d in tiling.tiles_yxyx]
        name = f"{len(tiles)} tiles {height}x{width}, overlap {overlap}"
        parts = detect(tiles, name)
        agnostic = detector.class_agnostic
        merged = tiling.merge(*zip(*parts, strict=True), class_agnostic=agnostic)
        variants[name] = {score: above(merged, score) for score in (lower, threshold)}
    objects = [dataset.objects[number] for number in numbers]
    annotated = joined([(each.boxes_yxyx, each.labels, np.ones(len(each.labels))) for each in objects], corners)
    rows = [
        {
            "detected in": name,
            "detections": len(found[threshold][0]),
            "objects found": matched(annotated, found[threshold]),
            "recall": matched(expected, found[threshold]) / len(expected[0]),
            "precision": share(matched(found[threshold], expected), len(found[threshold][0])),
            f"recall, other from {lower:.3f}": matched(expected, found[lower]) / len(expected[0]),
            f"precision, other from {lower:.3f}": share(matched(found[threshold], single), len(found[threshold][0])),
        }
        for name, found in variants.items()
    ]
    print(f"mosaic {mosaic.shape[1]}x{mosaic.shape[0]}, {len(annotated[0])} objects, threshold {threshold:.3f}")
    print(tables.markdown(rows))


if __name__ == "__main__":
    command_line.run(main)
