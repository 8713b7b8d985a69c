"""Small datasets of colored shapes on textured photographs, written in any format, with or without a fault."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from PIL import Image

NAMES = ("disk", "frame", "star")
COLORS = ((220, 60, 40), (40, 90, 220), (240, 220, 60))


@dataclass(frozen=True)
class Object:
    """A box (xmin, ymin, xmax, ymax), in pixels and exclusive, and a class."""

    box: tuple[float, float, float, float]
    label: int


@dataclass(frozen=True)
class Drawing:
    """An image with objects."""

    name: str
    image: np.ndarray
    objects: tuple[Object, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def boxes(self, change: Callable[[np.ndarray], tuple[float, ...]]) -> "Drawing":
        """With other boxes."""
        return replace(self, objects=tuple(Object(change(np.array(each.box)), each.label) for each in self.objects))

    def labels(self, change: Callable[[int], int]) -> "Drawing":
        """With other labels."""
        return replace(self, objects=tuple(replace(each, label=change(each.label)) for each in self.objects))


def drawings(
    count: int,
    seed: int,
    *,
    size: tuple[int, int] = (96, 128),
    side: tuple[int, int] = (14, 40),
    objects: int = 4,
    shares: tuple[float, float, float] = (0.6, 0.3, 0.1),
) -> list[Drawing]:
    """`count` images of 1 to `objects` objects, whose classes are drawn with the probabilities `shares`."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        coarse = rng.integers(70, 150, (size[0] // 8, size[1] // 8, 3)).astype(np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)).copy()
        placed = list[Object]()
        for _ in range(int(rng.integers(1, objects + 1))):
            height, width = (int(each) for each in rng.integers(*side, 2))
            top, left = int(rng.integers(0, size[0] - height)), int(rng.integers(0, size[1] - width))
            label = int(rng.choice(3, p=shares))
            box = image[top : top + height, left : left + width]
            box[:] = COLORS[label]
            if label == 1:
                box[3:-3, 3:-3] = 255 - box[3:-3, 3:-3]
            if label == 2:
                box[::2] //= 2
            placed.append(Object((left, top, left + width, top + height), label))
        noise = rng.integers(-6, 7, image.shape)
        image = np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)
        found.append(Drawing(f"{seed}_{number:03}", image, tuple(placed)))
    return found


def write_voc(root: Path, splits: dict[str, list[Drawing]]) -> str:
    """Boxes as they are given, from 0: the first pixel is 1 in VOC."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, each in splits.items():
        for drawing in each:
            Image.fromarray(drawing.image).save(root / "JPEGImages" / f"{drawing.name}.png")
            top = Element("annotation")
            size = SubElement(top, "size")
            for key, value in zip(("height", "width"), drawing.size, strict=True):
                SubElement(size, key).text = str(value)
            for item in drawing.objects:
                node = SubElement(top, "object")
                SubElement(node, "name").text = NAMES[item.label]
                box = SubElement(node, "bndbox")
                for key, value in zip(("xmin", "ymin", "xmax", "ymax"), item.box, strict=True):
                    SubElement(box, key).text = f"{value:g}"
            (root / "Annotations" / f"{drawing.name}.xml").write_bytes(tostring(top))
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{each.name}\n" for each in each))
    return f"voc:{root}"


def write_yolo(
    root: Path, splits: dict[str, list[Drawing]], names: tuple[str, ...] = NAMES, convert: bool = True
) -> str:
    """Boxes as YOLO's relative centers and sides, or, with `convert` false, as they are given."""
    for split, each in splits.items():
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        for drawing in each:
            Image.fromarray(drawing.image).save(root / "images" / split / f"{drawing.name}.png")
            lines = []
            for item in drawing.objects:
                box = centers(item.box, drawing.size) if convert else item.box
                lines.append(f"{item.label} {' '.join(f'{value:.6f}' for value in box)}\n")
            (root / "labels" / split / f"{drawing.name}.txt").write_text("".join(lines))
    (root / "classes.txt").write_text("\n".join(names))
    return f"yolo:{root}"


def centers(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, ...]:
    """Returns the center and sides, relative to the image."""
    left, top, right, bottom = box
    height, width = size
    return (left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height


def write_coco(root: Path, splits: dict[str, list[Drawing]], convert: bool = True, first: int = 1) -> str:
    """Boxes as x, y, width, height, or, with `convert` false, as they are given; categories count from `first`."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, each in splits.items():
        (root / split).mkdir()
        images, rows = [], list[dict]()
        for number, drawing in enumerate(each):
            Image.fromarray(drawing.image).save(root / split / f"{drawing.name}.png")
            height, width = drawing.size
            images.append({"id": number, "file_name": f"{drawing.name}.png", "height": height, "width": width})
            for item in drawing.objects:
                left, top, right, bottom = item.box
                box = (left, top, right - left, bottom - top) if convert else item.box
                rows.append({"image_id": number, "category_id": item.label + 1, "bbox": [float(side) for side in box]})
        categories = [{"id": first + label, "name": name} for label, name in enumerate(NAMES)]
        record = {"images": images, "annotations": rows, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(record))
    return f"coco:{root}"


def everywhere(splits: dict[str, list[Drawing]], change: Callable[[Drawing], Drawing]) -> dict[str, list[Drawing]]:
    """Returns the same change for all images."""
    return {split: [change(each) for each in part] for split, part in splits.items()}


def names_of(splits: dict[str, list[Drawing]]) -> Iterator[str]:
    """Returns the names of all images."""
    return (each.name for part in splits.values() for each in part)
