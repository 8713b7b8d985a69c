"""Compares detection in tiles of a mosaic with detection in its single images.

    python tools/compare_tiles.py --workdir=DIR --source=voc:DIR2 --out=mosaic.png [--tiles=480x640:160,480x640:240]

Fills a gray mosaic with images of one size, from its top left corner. Detects, with the run's default detector and
threshold, in each image, in its mirrored copy, and in tiles of the mosaic (HEIGHTxWIDTH:OVERLAP). The table shows, for
each of them,

- how many annotated objects are found (same class, IoU of at least 0.5),
- recall: the share of the single images' detections that it repeats; precision: the share of its own detections that
  the single images have,
- the same if the other side's detections count from a lower score on, so that only real differences remain.

The mirrored images show how much detections change for other reasons than tiles. Writes the mosaic as a PNG file.
"""

import argparse

import numpy as np
from PIL import Image

from tfeff import runs
from tfeff.boxes import Tiling, iou
from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.rcnn.savedmodel import ExportedRCNN
from tfeff.reporting import tables
from tfeff.reporting.progress import Bar
from tfeff.runs.predictors import DetectorPredictor

LOWER = 0.9
"""Lower score from which the other side's detections count."""
Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""boxes_yxyx, labels, scores."""


def above(detections: Found, score: float) -> Found:
    """Detections from a score on."""
    boxes, labels, scores = (each[detections[2] >= score] for each in detections)
    return boxes, labels, scores


def joined(parts: list[Found], corners: np.ndarray) -> Found:
    """Detections of several images in a mosaic, whose top left corners are given, [n, 2]."""
    boxes = [boxes + np.tile(corner, 2) for (boxes, _, _), corner in zip(parts, corners, strict=True)]
    return (
        np.concatenate(boxes),
        np.concatenate([each[1] for each in parts]),
        np.concatenate([each[2] for each in parts]),
    )


def matched(first: Found, second: Found) -> int:
    """Number of pairs of the same class, one to one, by descending IoU of at least 0.5."""
    overlaps = iou(first[0], second[0]) * (first[1][:, None] == second[1])
    rows, columns = np.nonzero(overlaps >= 0.5)
    pairs: list[tuple[int, int]] = []
    for index in np.argsort(-overlaps[rows, columns]):
        row, column = rows[index], columns[index]
        if all(row != pair[0] and column != pair[1] for pair in pairs):
            pairs.append((row, column))
    return len(pairs)


def main() -> None:
    """Detects everywhere and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="workdir of a finished R-CNN run")
    parser.add_argument("--source", required=True, help="dataset with boxes; its images have one size")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", required=True, help="PNG file of the mosaic")
    parser.add_argument("--size", default="3000x4000", help="HEIGHTxWIDTH of the mosaic")
    parser.add_argument("--tiles", default="480x640:240", help="HEIGHTxWIDTH:OVERLAP, separated by commas")
    arguments = parser.parse_args()
    dataset = catalog.open_objects(arguments.source).load(arguments.split)
    size = np.array(arguments.size.split("x"), int)
    sides = np.array(decoding.encoded_size(dataset.encoded(0), dataset.ids[0]))
    grid = size // sides
    numbers = range(min(grid.prod(), len(dataset)))
    images = [decoding.decode(dataset.encoded(number), dataset.ids[number]) for number in numbers]
    corners = np.stack(np.divmod(numbers, grid[1]), axis=1) * sides
    mosaic = np.full((*size, 3), 200, np.uint8)
    for image, (top, left) in zip(images, corners, strict=True):
        mosaic[top : top + sides[0], left : left + sides[1]] = image
    Image.fromarray(mosaic).save(arguments.out)

    detector = ExportedRCNN(runs.open_run(arguments.workdir).saved_model())
    predictor, threshold = DetectorPredictor(detector, LOWER), detector.score

    def detect(pictures: list[np.ndarray], title: str) -> list[Found]:
        parts = []
        with Bar(title, len(pictures), "images") as bar:
            for pixels in pictures:
                row = predictor.detect(np.ascontiguousarray(pixels))
                boxes = np.reshape(np.array(row["boxes_yxyx"], np.float64), (-1, 4))
                parts.append((boxes, np.array(row["labels"], int), np.array(row["scores"])))
                bar.show(len(parts))
        return parts

    single = joined(detect(images, "single images"), corners)
    mirrored = detect([image[:, ::-1] for image in images], "mirrored images")
    for boxes, _, _ in mirrored:
        boxes[:, [1, 3]] = sides[1] - boxes[:, [3, 1]]
    in_mirrored = joined(mirrored, corners)
    variants = {"single images": {LOWER: single, threshold: above(single, threshold)}}
    variants["mirrored images"] = {LOWER: in_mirrored, threshold: above(in_mirrored, threshold)}
    for text in arguments.tiles.split(","):
        tile, overlap = text.split(":")
        tile_height, tile_width = map(int, tile.split("x"))
        tiling = Tiling(mosaic.shape[:2], (tile_height, tile_width), int(overlap))
        parts = detect([mosaic[a:c, b:d] for a, b, c, d in tiling.tiles_yxyx], f"tiles {text}")
        variants[f"{len(parts)} tiles {tile}, overlap {overlap}"] = {
            score: tiling.merge(*zip(*(above(part, score) for part in parts), strict=True))
            for score in (LOWER, threshold)
        }
    objects = [dataset.objects[number] for number in numbers]
    annotated = joined([(each.boxes_yxyx, each.labels, np.ones(len(each.labels))) for each in objects], corners)
    reference = variants["single images"]
    rows = [
        {
            "detected in": name,
            "detections": len(found[threshold][0]),
            "objects found": matched(annotated, found[threshold]),
            "recall": matched(reference[threshold], found[threshold]) / len(reference[threshold][0]),
            "precision": matched(found[threshold], reference[threshold]) / len(found[threshold][0]),
            f"recall, other from {LOWER}": matched(reference[threshold], found[LOWER]) / len(reference[threshold][0]),
            f"precision, other from {LOWER}": matched(found[threshold], reference[LOWER]) / len(found[threshold][0]),
        }
        for name, found in variants.items()
    ]
    print(f"mosaic {mosaic.shape[1]}x{mosaic.shape[0]}, {len(annotated[0])} objects, threshold {threshold:.3f}")
    print(tables.markdown(rows))


if __name__ == "__main__":
    main()
