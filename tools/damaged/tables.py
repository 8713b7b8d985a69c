"""Damaged CSV files of boxes and of labels, and lists of a VOC dataset's images."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import fuzzing
import numpy as np
from fuzzing import flipped, pick

from damaged.annotations import UNUSUAL_NAMES, UNUSUAL_NUMBERS, Annotations, image, write
from tfeff.data.sources.csv_boxes import CSVBoxes
from tfeff.data.sources.csv_file import CSVFile
from tfeff.data.sources.source import Options
from tfeff.data.sources.voc import VOC
from tfeff.errors import UserError

SIZE = (120, 160)
IMAGES = 6
CLASSES = ("cat", "dog", "hen")
_TO_ALL_ROWS = frozenset({"flipped bytes", "truncated", "quotation mark", "header", "random", "no bytes"})
"""Kinds of damage for which a table may be refused: to its text encoding, its header, or the ends of its rows."""
_TO_NAMES = frozenset({"flipped bytes", "header"})
"""Kinds of damage by which rows may name other images or splits, so that undamaged rows may be lost, too."""


def boxes_case(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
    """Returns a table of boxes."""
    rows, objects = list[str](), list[tuple[str, str, tuple[float, ...]]]()
    for number in range(IMAGES):
        write(folder / f"i{number}.png", image(SIZE))
        for _ in range(int(rng.integers(1, 4))):
            top, left = rng.integers(50, size=2).tolist()
            bottom, right, name = top + 40, left + 30, pick(rng, CLASSES)
            rows.append(f"i{number}.png,{name},{left},{top},{right},{bottom}")
            objects.append((f"i{number}", name, (float(top), float(left), float(bottom), float(right))))
    damage, text, untouched = _damaged_table("image,label,xmin,ymin,xmax,ymax", rows, rng)
    write(folder / "boxes.csv", text)
    return Annotations(
        damage,
        lambda: CSVBoxes(folder / "boxes.csv", Options()).load("all"),
        Counter(objects[index] for index in untouched),
        may_fail=damage in _TO_ALL_ROWS,
        may_lose=damage in _TO_NAMES,
    ).case("csv, boxes")


def labels_case(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
    """Returns a table of labels."""
    for number in range(IMAGES):
        write(folder / f"i{number}.png", image(SIZE))
    labels = {f"i{number}.png": CLASSES[number % len(CLASSES)] for number in range(IMAGES)}
    rows = [f"{name},{label}" for name, label in labels.items()]
    damage, text, untouched = _damaged_table("image,label", rows, rng)
    write(folder / "labels.csv", text)
    kept = [list(labels.items())[index] for index in untouched]

    def check() -> tuple[str, str]:
        try:
            source = CSVFile(folder / "labels.csv", Options()).load("all")
        except UserError as error:
            allowed = damage in _TO_ALL_ROWS
            return "UserError", "" if allowed else f"undamaged rows lost by UserError\n{str(error)[:500]}"
        names = [source.class_names[label] for label in source.labels]
        found = Counter((Path(path).name, name) for path, name in zip(source.ids, names, strict=True))
        missing = list((Counter(kept) - found).items())
        text = source.defects.text()
        lost = missing and not (damage in _TO_NAMES and text)
        result = "read" + (", defects reported" if text else "")
        return result, f"silent: undamaged rows lost\n{missing[:3]}" if lost else ""

    return fuzzing.Case("csv, labels", damage, check)


def _damaged_table(header: str, rows: list[str], rng: np.random.Generator) -> tuple[str, bytes, Iterable[int]]:
    """Damages some rows; also returns the others."""
    victims, everything = {int(index) for index in rng.integers(len(rows), size=2)}, range(len(rows))
    kind = pick(
        rng,
        ("flipped bytes", "truncated", "quotation mark", "unusual number", "unusual name", "cell missing", "cell added",
         "row missing", "rows shuffled", "semicolons", "carriage returns", "byte order mark", "UTF-16", "header",
         "random", "no bytes"),
    )  # fmt: skip
    lines = list(rows)
    for index in victims:
        cells = lines[index].split(",")
        place = int(rng.integers(len(cells)))
        if kind == "flipped bytes":
            lines[index] = flipped(lines[index].encode(), rng)[0].decode("latin-1").replace("\n", "?")
        elif kind == "quotation mark":
            at = pick(rng, (0, len(lines[index]) // 2, lines[index].rfind(",") + 1, len(lines[index])))
            lines[index] = lines[index][:at] + '"' + lines[index][at:]
        elif kind in ("unusual number", "unusual name"):
            values = UNUSUAL_NUMBERS if kind == "unusual number" else UNUSUAL_NAMES
            cells[place] = pick(rng, values).replace("\n", "")
            lines[index] = ",".join(cells)
        elif kind == "cell missing":
            lines[index] = ",".join(cells[:place] + cells[place + 1 :])
        elif kind == "cell added":
            lines[index] = ",".join([*cells[:place], "7", *cells[place:]])
        elif kind == "row missing":
            lines[index] = ""
        elif kind == "random":
            lines[index] = rng.bytes(60).decode("latin-1").replace("\n", "?").replace("\r", "?")
    if kind == "rows shuffled":
        lines = [lines[int(index)] for index in rng.permutation(len(lines))]
    text = "\n".join([header, *lines]) + "\n"
    content = text.encode("latin-1" if kind in ("flipped bytes", "random") else "utf-8")
    if kind == "truncated":
        cut = int(rng.integers(len(content)))
        return kind, content[:cut], range(max(0, content[:cut].count(b"\n") - 1))
    harmless = {
        "semicolons": content.replace(b",", b";"),
        "carriage returns": content.replace(b"\n", b"\r\n"),
        "byte order mark": b"\xef\xbb\xbf" + content,
        "UTF-16": text.encode("utf-16"),
        "rows shuffled": content,
    }
    if kind in harmless:
        return kind, harmless[kind], everything
    if kind == "header":
        return kind, flipped(header.encode(), rng)[0].replace(b"\n", b"?") + content[len(header) :], everything
    if kind == "no bytes":
        return kind, bytes(int(rng.integers(200))), []
    return kind, content, [index for index in everything if index not in victims]


def lists_case(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
    """Returns a list of a split in a VOC dataset."""
    names, expected = [f"photo {number}" for number in range(IMAGES)], Counter[tuple[str, str, tuple[float, ...]]]()
    for name in names:
        root = ElementTree.Element("annotation")
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = "cat"
        box = ElementTree.SubElement(item, "bndbox")
        for key, value in (("xmin", 11), ("ymin", 21), ("xmax", 50), ("ymax", 60)):
            ElementTree.SubElement(box, key).text = str(value)
        write(folder / "Annotations" / f"{name}.xml", ElementTree.tostring(root))
        write(folder / "JPEGImages" / f"{name}.png", image(SIZE))
    damage, text = fuzzing.damaged("".join(f"{name}\n" for name in names).encode(), rng)
    write(folder / "ImageSets/Main/train.txt", text)
    lines = {line.strip() for line in text.decode("utf-8", "surrogateescape").splitlines()}
    for name in names:
        expected[name, "cat", (20.0, 10.0, 60.0, 50.0)] += name in lines
    return Annotations(
        damage, lambda: VOC(folder, Options()).load("train"), +expected, may_fail=True, may_lose=True
    ).case("voc, list")
