"""Digits on photographs as VOC datasets."""

from collections.abc import Sequence
from pathlib import Path

import cv2

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.sources import catalog

SOURCE = "embedded:placed_digits:64"


def write_voc(
    root: Path,
    splits: dict[str, Sequence[int]],
    *,
    annotations: str = "Annotations",
    images: str = "JPEGImages",
    truncated: Sequence[int] = (),
) -> None:
    """Writes digits 000.jpg, 001.jpg, ... and the list of each split; `truncated` files lack their last 20 bytes."""
    for folder in (annotations, images, "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    source = catalog.open_objects(SOURCE).load("train")
    for split, numbers in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(f"{number:03}" for number in numbers))
        for number in numbers:
            pixels = decoding.decode(source.encoded(number), str(number))
            encoded = cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
            content = encoded[:-20] if number in truncated else encoded
            (root / images / f"{number:03}.jpg").write_bytes(content)
            (root / annotations / f"{number:03}.xml").write_text(_annotation(source, number))


def _annotation(source: Dataset, number: int) -> str:
    items = []
    objects = source.objects[number]
    for box, label in zip(objects.boxes_yxyx, objects.labels, strict=True):
        top, left, bottom, right = box.tolist()
        corners = {"ymin": top + 1, "xmin": left + 1, "ymax": bottom, "xmax": right}  # Corners count from 1.
        bndbox = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
        items.append(f"<object><name>{source.class_names[label]}</name><bndbox>{bndbox}</bndbox></object>")
    return f"<annotation>{''.join(items)}</annotation>"
