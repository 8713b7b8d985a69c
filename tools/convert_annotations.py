"""One form of boxes into another: `python tools/convert_annotations.py --dataset=voc:DIR --to=yolo --out=DIR2`.

Images are copied byte by byte. What a form cannot say is lost, and counted: YOLO has neither difficult nor crowd, COCO
no difficult, VOC no crowd. VOC's corners are rounded to whole pixels, and a box thinner than two of them is widened.
"""

import argparse
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from PIL import Image

from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.errors import UserError

LIST_NAMES = {"validation": "val"}
"""What VOC calls a split."""
SUFFIXES = {"jpeg": "jpg"}

Picture = tuple[str, bytes, tuple[int, int], Objects]  # file name, bytes, (height, width), objects


def main() -> None:
    """Converts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="voc:DIR, yolo:DIR, coco:DIR, tfds:NAME, embedded:NAME")
    parser.add_argument("--split", default="all", help="one or several, with commas: train,validation,test")
    parser.add_argument("--to", choices=list(WRITERS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        for split in arguments.split.split(","):
            source = catalog.open_objects(arguments.dataset).load(split)
            lost = convert(source, split, arguments.to, arguments.out)
            print(f"{split}: {len(source):,} images, {sum(map(len, source.objects)):,} objects")
            for what in (source.defects.text(), *(f"{count} x {kind}" for kind, count in sorted(lost.items()))):
                if what:
                    print(what)
    except UserError as error:
        parser.exit(2, f"{error}\n")


def convert(source: Dataset, split: str, form: str, out: Path) -> Counter[str]:
    """Writes a source below a folder as one split of a data set; of several splits each is written by a call.

    Args:
        source: what to write.
        split: what it is called there; `all` is undivided.
        form: `voc`, `yolo` or `coco`.
        out: the data set's folder.

    Returns:
        What the form cannot say, and how often.

    Raises:
        UserError: two images would get one file name, or another image lies there.
    """
    return WRITERS[form](source, split, out)


def pictures(source: Dataset) -> Iterator[Picture]:
    """Each image under a name that is good in one folder, with the suffix of what it is.

    Raises:
        UserError: two images would get one name.
    """
    paths = [PurePosixPath(name) for name in source.ids]
    paths = [path.with_suffix("") if path.name.lower().endswith(decoding.EXTENSIONS) else path for path in paths]
    stems = [path.name for path in paths]
    if len(set(stems)) < len(stems):
        stems = [str(path).strip("/").replace("/", "_") for path in paths]
    for stem, count in Counter(stems).items():
        if count > 1:
            raise UserError(f"{source.name}: two images would be called {stem}; rename one of them")
    for index, stem in enumerate(stems):
        encoded = source.encoded(index)
        with Image.open(io.BytesIO(encoded)) as image:
            suffix = (image.format or "png").lower()
        size = decoding.encoded_size(encoded, source.ids[index])
        yield f"{stem}.{SUFFIXES.get(suffix, suffix)}", encoded, size, source.objects[index]


def write_voc(source: Dataset, split: str, out: Path) -> Counter[str]:
    """`Annotations/`, `JPEGImages/` and, of a split, its list."""
    lost, names = Counter[str](), list[str]()
    for name, encoded, size, objects in pictures(source):
        root = Element("annotation")
        SubElement(root, "filename").text = name
        _fill(SubElement(root, "size"), {"width": size[1], "height": size[0], "depth": 3})
        for box, label, difficult, crowd in _rows(objects):
            element = SubElement(root, "object")
            _fill(element, {"name": source.class_names[label], "difficult": int(difficult)})
            (top, bottom), (left, right) = _whole(box[0], box[2], size[0]), _whole(box[1], box[3], size[1])
            _fill(SubElement(element, "bndbox"), {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom})
            lost["crowd"] += crowd
        indent(root)
        stem = Path(name).stem
        (out / "Annotations").mkdir(parents=True, exist_ok=True)
        ElementTree(root).write(out / "Annotations" / f"{stem}.xml", encoding="utf-8")
        _copy(out / "JPEGImages" / name, encoded)
        names.append(stem)
    if split != "all":
        text = "".join(f"{name}\n" for name in names)
        _write(out / "ImageSets" / "Main" / f"{LIST_NAMES.get(split, split)}.txt", text.encode())
    return +lost


def write_yolo(source: Dataset, split: str, out: Path) -> Counter[str]:
    """`images/`, `labels/` (in them a folder a split) and `data.yaml`."""
    lost = Counter[str]()
    part = "" if split == "all" else split
    for name, encoded, (height, width), objects in pictures(source):
        lines = []
        for (top, left, bottom, right), label, difficult, crowd in _rows(objects):
            shares = (
                (left + right) / 2 / width,
                (top + bottom) / 2 / height,
                (right - left) / width,
                (bottom - top) / height,
            )
            lines.append(" ".join([str(label), *(f"{share:.8f}" for share in shares)]) + "\n")
            lost["difficult"] += difficult
            lost["crowd"] += crowd
        _copy(out / "images" / part / name, encoded)
        _write((out / "labels" / part / name).with_suffix(".txt"), "".join(lines).encode())
    _write(out / "data.yaml", f"names: {json.dumps(list(source.class_names))}\n".encode())  # JSON is YAML
    return +lost


def write_coco(source: Dataset, split: str, out: Path) -> Counter[str]:
    """`annotations/instances_<split>.json` and `<split>/`."""
    lost, images, annotations = Counter[str](), list[dict[str, Any]](), list[dict[str, Any]]()
    for number, (name, encoded, (height, width), objects) in enumerate(pictures(source), 1):
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for (top, left, bottom, right), label, difficult, crowd in _rows(objects):
            row = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": int(crowd)}
            xywh = [round(value, 4) for value in (left, top, right - left, bottom - top)]
            annotations.append(row | {"bbox": xywh, "area": round(xywh[2] * xywh[3], 4)})
            lost["difficult"] += difficult
        _copy(out / split / name, encoded)
    categories = [{"id": number, "name": name} for number, name in enumerate(source.class_names, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _write(out / "annotations" / f"instances_{split}.json", json.dumps(content).encode())
    return +lost


WRITERS: dict[str, Callable[[Dataset, str, Path], Counter[str]]] = {
    "voc": write_voc,
    "yolo": write_yolo,
    "coco": write_coco,
}


def _rows(objects: Objects) -> Iterator[tuple[list[float], int, bool, bool]]:
    columns = (objects.boxes_yxyx, objects.labels, objects.difficult, objects.crowd)
    yield from zip(*(column.tolist() for column in columns), strict=True)


def _whole(low: float, high: float, limit: int) -> tuple[int, int]:
    """The first and the last pixel between two edges, counted from 1; two of them, since readers want an area."""
    first, last = round(low) + 1, round(high)
    if first >= last:
        first = max(1, min(first, limit - 1))
        last = first + 1
    return first, last


def _fill(element: Element, values: dict[str, object]) -> None:
    for key, value in values.items():
        SubElement(element, key).text = str(value)


def _copy(path: Path, encoded: bytes) -> None:
    """An image's file, which must not take the place of another one.

    Raises:
        UserError: it would.
    """
    if path.exists() and path.read_bytes() != encoded:
        raise UserError(f"{path} is there already, as another image; write to an empty folder, or rename one of them")
    _write(path, encoded)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    main()
