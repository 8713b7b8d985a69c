"""Converts a dataset with boxes: `python tools/convert_annotations.py --dataset=voc:DIR --to=yolo --out=DIR2`.

Image files are copied unchanged. Attributes that the target format lacks are dropped and counted: `difficult` and
`crowd` in YOLO and CSV, `difficult` in COCO, `crowd` in VOC; Hugging Face datasets (`hf`) keep both, but not the names
of images. VOC corners are rounded to whole pixels, and boxes thinner than two pixels are widened to two.
"""

import argparse
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import command_line
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images import decoding, header
from tfeff.data.sources import catalog
from tfeff.errors import UserError

LIST_NAMES = {"validation": "val"}
"""Split -> name of its list in VOC."""
SUFFIXES = {"jpeg": "jpg"}

NamedImage = tuple[str, bytes, tuple[int, int], Objects]  # file name, encoded image, (height, width), objects


def main() -> None:
    """Converts the dataset that the flags name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--dataset", required=True, help="voc:DIR, yolo:DIR, coco:DIR, csv:FILE, hf:DIR, tfds:NAME or embedded:NAME."
    )
    parser.add_argument("--split", default="all", help="One or more splits: train,validation,test.")
    parser.add_argument("--to", choices=list(WRITERS), required=True, help="Target format.")
    parser.add_argument("--out", type=Path, required=True, help="Output directory.")
    arguments = parser.parse_args()
    for split in arguments.split.split(","):
        source = catalog.open_objects(arguments.dataset).load(split)
        dropped = convert(source, split, arguments.to, arguments.out)
        print(f"{split}: {len(source):,} images, {sum(map(len, source.objects)):,} objects")
        if defects := source.defects.text():
            print(defects)
        for attribute, count in sorted(dropped.items()):
            print(f"dropped {attribute} of {count:,} objects")


def convert(source: Dataset, split: str, target: str, out: Path) -> Counter[str]:
    """Writes one split of a dataset. Call it once per split.

    Args:
        source: the images and objects of the split.
        split: its name in the output; `all` writes a dataset without splits.
        target: a key of `WRITERS`.
        out: the output directory.

    Returns:
        Dropped attribute -> number of objects that had it.

    Raises:
        UserError: two images would get the same file name, or the file exists with other content.
    """
    return WRITERS[target](source, split, out)


def named_images(source: Dataset) -> Iterator[NamedImage]:
    """Yields each image with a file name that is unique in one folder and has the suffix of its actual format.

    Raises:
        UserError: two images would get the same name.
    """
    paths = [PurePosixPath(name) for name in source.ids]
    paths = [path.with_suffix("") if path.name.lower().endswith(decoding.EXTENSIONS) else path for path in paths]
    stems = [path.name for path in paths]
    if len(set(stems)) < len(stems):
        stems = [str(path).strip("/").replace("/", "_") for path in paths]
    for stem, count in Counter(stems).items():
        if count > 1:
            raise UserError(f"{source.name}: two images would get the name {stem}; rename one of them")
    for index, stem in enumerate(stems):
        encoded = source.encoded(index)
        with header.opened(encoded) as image:
            suffix = (image.format or "png").lower()
        size = decoding.encoded_size(encoded, source.ids[index])
        yield f"{stem}.{SUFFIXES.get(suffix, suffix)}", encoded, size, source.objects[index]


def write_voc(source: Dataset, split: str, out: Path) -> Counter[str]:
    """Writes `Annotations/`, `JPEGImages/` and, unless the split is `all`, its list in `ImageSets/Main/`."""
    dropped, names = Counter[str](), list[str]()
    for name, encoded, size, objects in named_images(source):
        root = Element("annotation")
        SubElement(root, "filename").text = name
        _fill(SubElement(root, "size"), {"width": size[1], "height": size[0], "depth": 3})
        for box, label, difficult, crowd in _rows(objects):
            element = SubElement(root, "object")
            _fill(element, {"name": source.class_names[label], "difficult": int(difficult)})
            (top, bottom), (left, right) = _pixel_span(box[0], box[2], size[0]), _pixel_span(box[1], box[3], size[1])
            _fill(SubElement(element, "bndbox"), {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom})
            dropped["crowd"] += crowd
        indent(root)
        stem = Path(name).stem
        _write_new(out / "JPEGImages" / name, encoded)
        _write_new(out / "Annotations" / f"{stem}.xml", tostring(root, encoding="utf-8"))
        names.append(stem)
    if split != "all":
        text = "".join(f"{name}\n" for name in names)
        _write(out / "ImageSets" / "Main" / f"{LIST_NAMES.get(split, split)}.txt", text.encode())
    return +dropped


def write_yolo(source: Dataset, split: str, out: Path) -> Counter[str]:
    """Writes `images/` and `labels/`, each with one folder per split unless the split is `all`, and `data.yaml`."""
    dropped = Counter[str]()
    folder = "" if split == "all" else split
    for name, encoded, (height, width), objects in named_images(source):
        lines = []
        for (top, left, bottom, right), label, difficult, crowd in _rows(objects):
            relative = (
                (left + right) / 2 / width,
                (top + bottom) / 2 / height,
                (right - left) / width,
                (bottom - top) / height,
            )
            lines.append(" ".join([str(label), *(f"{value:.8f}" for value in relative)]) + "\n")
            dropped["difficult"] += difficult
            dropped["crowd"] += crowd
        _write_new(out / "images" / folder / name, encoded)
        _write((out / "labels" / folder / name).with_suffix(".txt"), "".join(lines).encode())
    _write(out / "data.yaml", f"names: {json.dumps(list(source.class_names))}\n".encode())  # JSON is YAML
    return +dropped


def write_coco(source: Dataset, split: str, out: Path) -> Counter[str]:
    """Writes `annotations/instances_<split>.json` and the images in `<split>/`."""
    dropped, images, annotations = Counter[str](), list[dict[str, Any]](), list[dict[str, Any]]()
    for number, (name, encoded, (height, width), objects) in enumerate(named_images(source), 1):
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for (top, left, bottom, right), label, difficult, crowd in _rows(objects):
            row = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": int(crowd)}
            xywh = [round(value, 4) for value in (left, top, right - left, bottom - top)]
            annotations.append(row | {"bbox": xywh, "area": round(xywh[2] * xywh[3], 4)})
            dropped["difficult"] += difficult
        _write_new(out / split / name, encoded)
    categories = [{"id": number, "name": name} for number, name in enumerate(source.class_names, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _write(out / "annotations" / f"instances_{split}.json", json.dumps(content).encode())
    return +dropped


def write_csv(source: Dataset, split: str, out: Path) -> Counter[str]:
    """Writes `<split>.csv`, a row per object or empty image, and the images in `<split>/`."""
    dropped, rows = Counter[str](), [("image", "label", "xmin", "ymin", "xmax", "ymax")]
    for name, encoded, _, objects in named_images(source):
        path = f"{split}/{name}"
        for (top, left, bottom, right), label, difficult, crowd in _rows(objects):
            corners = (str(round(value, 4)) for value in (left, top, right, bottom))
            rows.append((path, source.class_names[label], *corners))
            dropped["difficult"] += difficult
            dropped["crowd"] += crowd
        if not len(objects):
            rows.append((path, "", "", "", "", ""))
        _write_new(out / path, encoded)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(out / f"{split}.csv", text.getvalue().encode())
    return +dropped


def write_hf(source: Dataset, split: str, out: Path) -> Counter[str]:
    """Writes `data/<split>-00000-of-00001.parquet`, with the images."""
    flag = {"_type": "Value", "dtype": "bool"}
    kinds = {
        "bbox": {"_type": "List", "feature": {"_type": "Value", "dtype": "float32"}, "length": 4},
        "category": {"_type": "ClassLabel", "names": list(source.class_names)},
        "difficult": flag,
        "iscrowd": flag,
    }
    lists = {key: {"_type": "List", "feature": kind} for key, kind in kinds.items()}
    types = (pa.list_(pa.float32(), 4), pa.int64(), pa.bool_(), pa.bool_())
    objects_type = pa.struct([(key, pa.list_(each)) for key, each in zip(kinds, types, strict=True)])
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    information = {"info": {"features": {"image": {"_type": "Image"}, "objects": lists}}}
    schema = pa.schema([("image", image_type), ("objects", objects_type)], {"huggingface": json.dumps(information)})
    path = out / "data" / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema) as file:
        for start in range(0, len(source), 100):  # images of a group of rows, as `datasets` writes them
            rows = []
            for name, encoded, _, objects in named_images(source.take(np.arange(len(source))[start : start + 100])):
                top, left, bottom, right = objects.boxes_yxyx.T
                boxes = np.stack([left, top, right - left, bottom - top], axis=1)
                values = (each.tolist() for each in (boxes, objects.labels, objects.difficult, objects.crowd))
                rows.append(
                    {"image": {"bytes": encoded, "path": name}, "objects": dict(zip(kinds, values, strict=True))}
                )
            file.write_table(pa.Table.from_pylist(rows, schema))
    return Counter()


WRITERS: dict[str, Callable[[Dataset, str, Path], Counter[str]]] = {
    "voc": write_voc,
    "yolo": write_yolo,
    "coco": write_coco,
    "csv": write_csv,
    "hf": write_hf,
}


def _rows(objects: Objects) -> Iterator[tuple[list[float], int, bool, bool]]:
    columns = (objects.boxes_yxyx, objects.labels, objects.difficult, objects.crowd)
    yield from zip(*(column.tolist() for column in columns), strict=True)


def _pixel_span(low: float, high: float, limit: int) -> tuple[int, int]:
    """Returns the first and the last pixel between two edges, counted from 1.

    These are at least two pixels, so that boxes have area.
    """
    first, last = round(low) + 1, round(high)
    if first >= last:
        first = max(1, min(first, limit - 1))
        last = first + 1
    return first, last


def _fill(element: Element, values: dict[str, object]) -> None:
    for key, value in values.items():
        SubElement(element, key).text = str(value)


def _write_new(path: Path, content: bytes) -> None:
    """Writes the file of an image.

    Raises:
        UserError: the file exists with other content.
    """
    if path.exists() and path.read_bytes() != content:
        raise UserError(f"{path} already exists with other content; use an empty --out, or rename one of the images")
    _write(path, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    command_line.run(main)
