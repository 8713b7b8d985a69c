"""Draws a dataset with boxes: `python tools/draw_annotations.py --dataset=voc:DIR --out=DIR2`.

Writes a selection of images with the boxes of their objects (`annotated.png`) and the distribution of classes, sizes
and shapes (`objects.png`). Prints the defects of the annotations.
"""

import argparse
from pathlib import Path

import command_line
import cv2
import numpy as np

from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.reporting import figure
from tfeff.reporting.annotations import annotated_figure, objects_figure

SIDE = 480
"""Maximum length in pixels of the longer side of a drawn image."""


def main() -> None:
    """Draws the dataset that the flags name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="voc:DIR, yolo:DIR, coco:DIR, tfds:NAME or embedded:NAME.")
    parser.add_argument("--split", default="all", help="Split of the dataset.")
    parser.add_argument("--out", type=Path, required=True, help="Output directory.")
    parser.add_argument("--images", type=int, default=12, help="Number of images to draw, evenly spaced.")
    arguments = parser.parse_args()
    source = catalog.open_objects(arguments.dataset).load(arguments.split)
    print(source.defects.text() or "no defects")

    images, boxes, labels = [], [], []
    for index in np.unique(np.linspace(0, len(source) - 1, arguments.images).astype(int)):
        image = decoding.decode(source.encoded(index), source.ids[index])
        factor = min(1.0, SIDE / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        images.append(small)
        scale = np.tile(np.array(small.shape[:2]) / image.shape[:2], 2)
        boxes.append(source.objects[index].boxes_yxyx * scale)
        labels.append(source.objects[index].labels)
    drawn = annotated_figure(images, boxes, labels, source.class_names, title=source.name)
    figure.save(drawn, arguments.out / "annotated", dpi=110)

    all_boxes = np.concatenate([objects.boxes_yxyx for objects in source.objects])
    drawn = objects_figure(
        np.concatenate([objects.labels for objects in source.objects]),
        all_boxes[:, 2] - all_boxes[:, 0],
        all_boxes[:, 3] - all_boxes[:, 1],
        [len(objects) for objects in source.objects],
        source.class_names,
        title=f"{source.name}: {len(all_boxes):,} objects in {len(source):,} images",
    )
    figure.save(drawn, arguments.out / "objects")
    print(f"wrote {arguments.out / 'annotated'}.{{png,svg}}, {arguments.out / 'objects'}.{{png,svg}}")


if __name__ == "__main__":
    command_line.run(main)
