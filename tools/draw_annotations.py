"""Pictures of a detection data set: `python tools/draw_annotations.py --dataset=voc:DIR --out=DIR2`.

Writes some of its images with the boxes of their objects (`annotated.png`) and what its objects are like, by class,
size and shape (`objects.png`); prints the defects of its annotations.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.reporting import figure
from tfeff.reporting.annotations import annotated_figure, objects_figure

SIDE = 480
"""Pixels of the longer side of a drawn image; larger ones shrink."""


def main() -> None:
    """Draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="voc:DIR, yolo:DIR, coco:DIR, tfds:NAME, embedded:NAME")
    parser.add_argument("--split", default="all")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=12, help="how many to draw, evenly taken")
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

    every = np.concatenate([objects.boxes_yxyx for objects in source.objects])
    drawn = objects_figure(
        np.concatenate([objects.labels for objects in source.objects]),
        every[:, 2] - every[:, 0],
        every[:, 3] - every[:, 1],
        [len(objects) for objects in source.objects],
        source.class_names,
        title=f"{source.name}: {len(every):,} objects in {len(source):,} images",
    )
    figure.save(drawn, arguments.out / "objects")
    print(f"wrote {arguments.out / 'annotated'}.{{png,svg}}, {arguments.out / 'objects'}.{{png,svg}}")


if __name__ == "__main__":
    main()
