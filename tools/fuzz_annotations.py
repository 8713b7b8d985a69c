"""Tests the annotation readers with damaged copies of real files: `python tools/fuzz_annotations.py --data=DIR`.

DIR contains `bccd`, `raccoon` and `coco128`. The damage is what disks, editors, scripts and attackers cause: flipped
and lost bytes; missing, duplicated, reordered or deeply nested tags; invalid numbers; entity bombs; names with paths. A
reader must finish within a time limit, raise nothing but `UserError`, return only boxes inside their images, and keep
every undamaged object.
"""

import argparse
import io
import json
import re
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from xml.etree import ElementTree

import command_line
import numpy as np
from PIL import Image

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.sources import coco, voc, yolo
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

SECONDS = 5.0
"""Time limit per file."""
UNUSUAL_NUMBERS = (
    "nan", "inf", "-inf", "-1", "0", "1e400", "-1e308", "1e308", "9" * 400, "9" * 5000, "1e-320", "1e-9", "0x10",
    "1,5", "१२", "", " ", "1_0", "true", "１", "--5", "1e", "\u202e12", "100000000000", "0.30000000000000004", "-0.0",
)  # fmt: skip
UNUSUAL_NAMES = (
    "",
    " ",
    "猫",
    "\u202ecat",
    "a" * 100_000,
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "cat\n",
    "😀",
    "&amp;",
    ".",
)

ObjectCounts = Counter[tuple[str, str, tuple[float, ...]]]  # (image, class, box) -> number of objects


@dataclass(frozen=True)
class Case:
    """A damaged dataset on disk.

    Attributes:
        damage: kind of damage.
        load: reads the dataset.
        expected: objects that the reader must return.
        may_fail: whether the reader may raise `UserError`.
    """

    damage: str
    load: Callable[[], Dataset]
    expected: ObjectCounts
    may_fail: bool


@dataclass(frozen=True)
class Document:
    """A real annotation file without defects.

    Attributes:
        content: its bytes.
        size: (height, width) of its image.
        objects: (class, box) of its objects, in file order.
    """

    content: bytes
    size: tuple[int, int]
    objects: list[tuple[str, tuple[float, ...]]]

    def counts(self, image: str, indices: Iterable[int] | None = None) -> ObjectCounts:
        """Counts all objects, or those at the given indices, under the given image name."""
        selected = range(len(self.objects)) if indices is None else indices
        return Counter((image, *self.objects[index]) for index in selected)


def main() -> None:
    """Tries all files; exits with code 1 if a reader failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder with bccd, raccoon and coco128.")
    parser.add_argument("--count", type=int, default=10_000, help="Total number of files.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the damage.")
    arguments = parser.parse_args()
    failures = list[str]()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(arguments.data, Path(folder), arguments.count, arguments.seed, failures)
    for (scheme, damage, outcome), count in sorted(outcomes.items()):
        print(f"{count:6}  {scheme:5} {damage:28} {outcome}")
    for kind, count in Counter(failure.partition("\n")[0] for failure in failures).most_common():
        print(f"{count} x {kind}")
    for failure in failures[:10]:
        print(f"\n{failure}", file=sys.stderr)
    print(f"{sum(outcomes.values())} files, {len(failures)} failures")
    sys.exit(bool(failures))


def run(data: Path, folder: Path, count: int, seed: int, failures: list[str]) -> Counter[tuple[str, str, str]]:
    """Tries `count` files, a third in each format.

    Args:
        data: contains `bccd`, `raccoon` and `coco128`.
        folder: for the damaged datasets.
        count: number of files.
        seed: the damage to file i is a function of (seed, i).
        failures: list to which a text is appended for each failure.

    Returns:
        (scheme, damage, outcome) -> number of files.
    """
    outcomes = Counter[tuple[str, str, str]]()
    case_makers = {"voc": voc_case(data), "yolo": yolo_case(data), "coco": coco_case(data)}
    for number in range(count):
        scheme = tuple(case_makers)[number % len(case_makers)]
        rng = np.random.default_rng([seed, number])
        case = case_makers[scheme](folder / scheme, rng)
        outcome, failure = check(case)
        outcomes[scheme, case.damage, outcome] += 1
        if failure:
            failures.append(f"{scheme}, {case.damage}: {failure}\nfile {number} of seed {seed}")
    return outcomes


def check(case: Case) -> tuple[str, str]:
    """Reads a case and returns the outcome in a word or two, and a description of the failure ("" if none)."""

    def time_out(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, time_out)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        source = case.load()
        text = source.defects.text()
        violation = invalid_output(source)
        if violation:
            return "read", violation
        missing = case.expected - object_counts(source)
        if missing:
            return "read", f"undamaged objects lost\n{list(missing.items())[:3]}\n{text[:500]}"
        return "read" + (", defects reported" if text else ""), ""
    except UserError as error:
        refused = case.may_fail or "rename the class" in str(error)
        return "UserError", "" if refused else f"undamaged objects lost by UserError\n{str(error)[:500]}"
    except TimeoutError:
        return "timeout", f"not finished after {SECONDS} s"
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}\n{traceback.format_exc()[-2000:]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def object_counts(source: Dataset) -> ObjectCounts:
    """Counts the objects that a reader returned."""
    return Counter(
        (Path(name).stem, source.class_names[label], tuple(box))
        for name, objects in zip(source.ids, source.objects, strict=True)
        for label, box in zip(objects.labels.tolist(), objects.boxes_yxyx.tolist(), strict=True)
    )


def invalid_output(source: Dataset) -> str:
    """Describes what no reader may return; empty if the output is valid."""
    for index, objects in enumerate(source.objects):
        with Image.open(io.BytesIO(source.encoded(index))) as image:
            limits = np.array([image.height, image.width] * 2)
        boxes = objects.boxes_yxyx
        if boxes.dtype != np.float32 or boxes.shape != (len(objects), 4) or not np.isfinite(boxes).all():
            return "boxes with wrong dtype, shape or values"
        if (boxes < 0).any() or (boxes > limits).any() or (boxes[:, 2:] <= boxes[:, :2]).any():
            return f"box outside its image or without area\n{boxes.tolist()}"
        if ((objects.labels < 0) | (objects.labels >= len(source.class_names))).any():
            return "label outside the classes"
        if not len(objects.labels) == len(objects.difficult) == len(objects.crowd):
            return "flags and labels of different lengths"
    return ""


def documents(source: Dataset, annotation: Callable[[str], Path], count: Callable[[bytes], int]) -> list[Document]:
    """Returns the files of a real dataset whose objects were all read."""
    complete = []
    for index, name in enumerate(source.ids):
        objects = source.objects[index]
        content = annotation(name).read_bytes() if len(objects) else b""
        if len(objects) == count(content) > 0:
            size = decoding.encoded_size(source.encoded(index), name)
            names = [source.class_names[label] for label in objects.labels]
            complete.append(
                Document(content, size, list(zip(names, map(tuple, objects.boxes_yxyx.tolist()), strict=True)))
            )
    return complete


def _image(size: tuple[int, int], cache: dict[tuple[int, int], bytes] = {}) -> bytes:  # noqa: B006 (shared by all calls)
    """Returns a black PNG of the given size."""
    if size not in cache:
        file = io.BytesIO()
        Image.new("L", size[::-1]).save(file, "png")
        cache[size] = file.getvalue()
    return cache[size]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


# Damaged bytes, for any format


def _flipped(content: bytes, rng: np.random.Generator) -> tuple[bytes, list[int]]:
    """Replaces some bytes; also returns their offsets."""
    damaged = bytearray(content)
    offsets = [int(offset) for offset in rng.integers(len(content), size=int(rng.integers(1, 6)))]
    for offset in offsets:
        damaged[offset] = int(rng.integers(256))
    return bytes(damaged), offsets


def _inserted(content: bytes, rng: np.random.Generator) -> bytes:
    """Inserts up to 199 random bytes."""
    offset = int(rng.integers(len(content)))
    return content[:offset] + rng.bytes(int(rng.integers(1, 200))) + content[offset:]


# Pascal VOC

_OBJECT = re.compile(rb"<object>.*?</object>", re.DOTALL)
_BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "aaaaaaaaaa">%s]><annotation>&a9;</annotation>""" % b"".join(
    b'<!ENTITY a%d "%s">' % (level, b"&a%d;" % (level - 1) * 10) for level in range(1, 10)
)
_FILE = b"""<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>"""


def voc_case(data: Path) -> Callable[[Path, np.random.Generator], Case]:
    """Makes cases from the files of BCCD and the raccoons; each has a damaged and an intact file."""
    originals = []
    for root, folder in ((data / "bccd/BCCD", "Annotations"), (data / "raccoon", "annotations")):
        source = voc.VOC(root, Options()).load("all")
        originals += documents(
            source, lambda name, at=root / folder: at / f"{name}.xml", lambda content: content.count(b"<object>")
        )

    def make(root: Path, rng: np.random.Generator) -> Case:
        document, neighbor = _pick(rng, originals), _pick(rng, originals)
        damage, content, untouched = _pick(rng, (_voc_bytes, _voc_tree, _voc_tree, _voc_tree, _voc_file))(document, rng)
        for name, text, original in (("damaged", content, document), ("neighbor", neighbor.content, neighbor)):
            _write(root / "Annotations" / f"{name}.xml", text)
            _write(root / "JPEGImages" / f"{name}.png", _image(original.size))
        expected = document.counts("damaged", untouched) + neighbor.counts("neighbor")
        return Case(damage, lambda: voc.VOC(root, Options()).load("all"), expected, may_fail=False)

    return make


def _voc_bytes(document: Document, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    kind = _pick(rng, ("flipped bytes", "truncated", "inserted bytes"))
    if kind == "truncated":
        return kind, document.content[: int(rng.integers(len(document.content)))], []
    if kind == "inserted bytes":
        return kind, _inserted(document.content, rng), []
    content, offsets = _flipped(document.content, rng)
    try:
        ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        return kind, content, []
    spans = [match.span() for match in _OBJECT.finditer(document.content)]
    return kind, content, [i for i, (a, b) in enumerate(spans) if not any(a <= offset < b for offset in offsets)]


def _voc_file(document: Document, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    """Replaces, encodes or nests the whole file."""
    everything = list(range(len(document.objects)))
    text = document.content.decode()
    nested = text.replace("<object>", "<part>" * 3000 + "<object>", 1)
    nested = nested.replace("</object>", "</object>" + "</part>" * 3000, 1)
    return _pick(
        rng,
        (
            ("entity bomb", _BOMB, []),
            ("external entity", _FILE, []),
            ("empty", b"", []),
            ("no XML", rng.bytes(300), []),
            ("unknown encoding", b'<?xml version="1.0" encoding="klingon"?>' + document.content, []),
            ("multi-byte encoding", b'<?xml version="1.0" encoding="utf-7"?>' + document.content, []),
            ("UTF-16", text.encode("utf-16"), everything),
            ("byte order mark", b"\xef\xbb\xbf" + document.content, everything),
            ("null bytes", document.content + bytes(50), []),
            ("deep nesting", nested.encode(), everything),
            ("very deep nesting", b"<annotation>" + b"<a>" * 200_000 + b"</a>" * 200_000 + b"</annotation>", []),
        ),
    )


def _voc_tree(document: Document, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    """Damages single tags; the file stays well-formed."""
    root = ElementTree.fromstring(document.content)
    objects = root.findall("object")
    victims = {int(index) for index in rng.integers(len(objects), size=int(rng.integers(1, 4)))}
    kind = _pick(
        rng,
        ("tag missing", "tag duplicated", "tags reordered", "invalid number", "unusual name", "nested object",
         "object duplicated", "object missing", "unusual header", "header missing", "objects shuffled",
         "text in between", "attributes"),
    )  # fmt: skip
    harmless = kind in (
        "tags reordered",
        "object duplicated",
        "unusual header",
        "header missing",
        "objects shuffled",
        "attributes",
    )
    for victim in (objects[index] for index in sorted(victims)):
        box = victim.find("bndbox")
        assert box is not None
        part = _pick(rng, (victim, box))
        child = _pick(rng, list(part))
        if kind == "tag missing":
            part.remove(child)
        elif kind == "tag duplicated":
            duplicate = ElementTree.SubElement(part, child.tag)
            duplicate.text = _pick(rng, UNUSUAL_NUMBERS)
            part.remove(duplicate)
            part.insert(0, duplicate)
        elif kind == "tags reordered":
            part[:] = [part[int(index)] for index in rng.permutation(len(part))]
        elif kind == "invalid number":
            _pick(rng, list(box)).text = _pick(rng, UNUSUAL_NUMBERS)
        elif kind == "unusual name":
            name = victim.find("name")
            assert name is not None
            name.text = _pick(rng, UNUSUAL_NAMES)
        elif kind == "nested object":
            part.append(ElementTree.fromstring(ElementTree.tostring(_pick(rng, objects))))
        elif kind == "object duplicated":
            root.append(victim)
        elif kind == "object missing" and victim in list(root):
            root.remove(victim)
        elif kind == "text in between":
            part.text = part.tail = _pick(rng, UNUSUAL_NAMES)
        elif kind == "attributes":
            child.set("id", _pick(rng, UNUSUAL_NUMBERS))
    headers = [child for child in root if child.tag != "object"]
    for header in headers:
        if kind == "unusual header":
            for inner in [header, *header]:
                inner.text = _pick(rng, UNUSUAL_NAMES + UNUSUAL_NUMBERS)
        elif kind == "header missing":
            root.remove(header)
    if kind == "objects shuffled":
        root[:] = [root[int(index)] for index in rng.permutation(len(root))]
    untouched = [index for index in range(len(objects)) if harmless or index not in victims]
    return kind, ElementTree.tostring(root, encoding=_pick(rng, ("utf-8", "us-ascii"))), untouched


# YOLO text


def yolo_case(data: Path) -> Callable[[Path, np.random.Generator], Case]:
    """Makes cases from the labels of COCO128; some have a damaged list of class names instead."""
    root = data / "coco128"
    source = yolo.YOLO(root, Options()).load("all")
    originals = documents(
        source,
        lambda name: root / "labels" / Path(name).with_suffix(".txt"),
        lambda content: len(content.splitlines()),
    )

    def make(folder: Path, rng: np.random.Generator) -> Case:
        document, neighbor = _pick(rng, originals), _pick(rng, originals)
        content, names = document.content, "names:\n" + "".join(f"  {n}: '{n}'\n" for n in range(80))
        untouched: Iterable[int] | None = None
        damage_names = rng.random() < 0.15
        if damage_names:
            damage, names = _yolo_names(names, rng)
        else:
            damage, content, untouched = _yolo_lines(content, rng)
        _write(folder / "data.yaml", names.encode("utf-8", "surrogatepass"))
        for name, text, original in (("damaged", content, document), ("neighbor", neighbor.content, neighbor)):
            _write(folder / "labels" / f"{name}.txt", text)
            _write(folder / "images" / f"{name}.png", _image(original.size))
        expected = Counter()
        if not damage_names:
            expected = document.counts("damaged", untouched) + neighbor.counts("neighbor")
        return Case(damage, lambda: yolo.YOLO(folder, Options()).load("all"), expected, may_fail=damage_names)

    return make


def _yolo_names(names: str, rng: np.random.Generator) -> tuple[str, str]:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
    )
    choices = {
        "names: truncated": names[: int(rng.integers(len(names)))],
        "names: flipped bytes": _flipped(names.encode(), rng)[0].decode("latin-1"),
        "names: YAML bomb": bomb + "names: [*a8, *a8]\n",
        "names: deep nesting": "names: " + "[" * 5000,
        "names: invalid number": f"names: {{{_pick(rng, UNUSUAL_NUMBERS) or 0}: x}}",
        "names: huge number": "names: {99999999999: x}",
        "names: code": "names: !!python/object/apply:os.getcwd []",
        "names: cycle": "names: &a [*a]",
        "names: unusual": json.dumps({"names": [_pick(rng, UNUSUAL_NAMES)] * 3}),
    }
    return _pick(rng, list(choices.items()))


def _yolo_lines(content: bytes, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    lines = content.rstrip(b"\n").split(b"\n")
    everything = range(len(lines))
    victims = {int(index) for index in rng.integers(len(lines), size=int(rng.integers(1, 4)))}
    kind = _pick(
        rng,
        ("flipped bytes", "truncated", "line missing", "lines duplicated", "lines shuffled", "invalid number",
         "column missing", "extra column", "garbage in line", "carriage returns", "byte order mark", "empty lines",
         "no bytes", "tabs"),
    )  # fmt: skip
    if kind == "truncated":
        cut = int(rng.integers(len(content)))
        return kind, content[:cut], list(range(content[:cut].count(b"\n")))
    if kind in ("carriage returns", "byte order mark", "empty lines", "tabs", "lines shuffled", "lines duplicated"):
        text = {
            "carriage returns": b"\r\n".join(lines),
            "byte order mark": b"\xef\xbb\xbf" + content,
            "empty lines": b"\n \n\n".join(lines),
            "tabs": content.replace(b" ", b"\t \t"),
            "lines shuffled": b"\n".join(lines[int(index)] for index in rng.permutation(len(lines))),
            "lines duplicated": b"\n".join(lines * 2),
        }[kind]
        return kind, text, list(everything)
    if kind == "no bytes":
        return kind, bytes(int(rng.integers(200))), []
    for index in victims:
        words = lines[index].split()
        column = int(rng.integers(5))
        if kind == "flipped bytes":
            lines[index] = _flipped(lines[index], rng)[0].replace(b"\n", b"?").replace(b"\r", b"?")
        elif kind == "line missing":
            lines[index] = b""
        elif kind == "invalid number":
            words[column] = _pick(rng, UNUSUAL_NUMBERS).encode()
            lines[index] = b" ".join(words)
        elif kind == "column missing":
            lines[index] = b" ".join(words[:column] + words[column + 1 :])
        elif kind == "extra column":
            lines[index] = b" ".join([*words[:column], _pick(rng, UNUSUAL_NUMBERS).encode() or b"1", *words[column:]])
        elif kind == "garbage in line":
            lines[index] = rng.bytes(int(rng.integers(1, 80))).replace(b"\n", b"?").replace(b"\r", b"?")
    return kind, b"\n".join(lines), [index for index in everything if index not in victims]


# COCO JSON


def coco_case(data: Path) -> Callable[[Path, np.random.Generator], Case]:
    """Makes cases from COCO files for four images of COCO128 each, written from their labels."""
    source = yolo.YOLO(data / "coco128", Options()).load("all")
    not_empty = [index for index in range(len(source)) if len(source.objects[index])]
    sizes = {index: decoding.encoded_size(source.encoded(index), "") for index in not_empty}

    def make(root: Path, rng: np.random.Generator) -> Case:
        chosen = [int(index) for index in rng.choice(not_empty, 4, replace=False)]
        images, annotations, values = [], [], []
        for place, index in enumerate(chosen):
            name, size = Path(source.ids[index]).stem, sizes[index]
            images.append({"id": 10 + place, "file_name": f"{name}.png", "height": size[0], "width": size[1]})
            _write(root / "images" / f"{name}.png", _image(size))
            objects = source.objects[index]
            for label, box in zip(objects.labels.tolist(), objects.boxes_yxyx.tolist(), strict=True):
                top, left, bottom, right = box
                xywh = [left, top, right - left, bottom - top]
                row = {"id": len(annotations), "image_id": 10 + place, "category_id": label, "bbox": xywh, "iscrowd": 0}
                annotations.append(row)
                y, x, h, w = np.array([top, left, bottom - top, right - left])
                values.append(
                    (name, source.class_names[label], tuple(np.array([y, x, y + h, x + w], np.float32).tolist()))
                )
        categories = [{"id": label, "name": name} for label, name in enumerate(source.class_names)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        damage, text, lost = _coco_damage(content, rng)
        _write(root / "annotations/instances_x.json", text)
        expected = Counter() if lost is None else Counter(v for number, v in enumerate(values) if number not in lost)
        return Case(damage, lambda: coco.COCO(root, Options()).load("x"), expected, may_fail=lost is None)

    return make


def _coco_damage(content: dict[str, Any], rng: np.random.Generator) -> tuple[str, bytes, set[int] | None]:
    """Damages a COCO file. Also returns the affected annotations, or None if all of them may be lost."""
    text = json.dumps(content).encode()
    kind = _pick(
        rng,
        ("flipped bytes", "truncated", "inserted bytes", "deep nesting", "section missing", "section of wrong type",
         *("unusual value", "key missing", "unusual row", "rows shuffled", "row duplicated") * 3),
    )  # fmt: skip
    if kind == "flipped bytes":
        return kind, _flipped(text, rng)[0], None
    if kind == "truncated":
        return kind, text[: int(rng.integers(len(text)))], None
    if kind == "inserted bytes":
        return kind, _inserted(text, rng), None
    if kind == "deep nesting":
        return kind, b'{"images":' + b"[" * 100_000, None
    unusual: tuple[Any, ...] = (
        None,
        True,
        "x",
        "",
        [],
        {},
        -1,
        1e308,
        float("nan"),
        float("inf"),
        10**400,
        [[1]],
        "猫",
        1.5,
    )
    unusual += (
        "../../etc/passwd",
        "/etc/passwd",
        "a\0b",
        "\ud800",
        "a" * 5000,
        [1, 2, 3, float("nan")],
        [1, 2, 10**400, 1],
        "1",
    )
    part = _pick(rng, list(content))
    if kind == "section missing":
        del content[part]
        return kind, json.dumps(content).encode(), None
    if kind == "section of wrong type":
        content[part] = _pick(rng, unusual)
        return kind, json.dumps(content).encode(), None
    annotations = list(content["annotations"])
    rows = content[part]
    place = int(rng.integers(len(rows)))
    before = dict(rows[place])
    lost = {
        number
        for number, row in enumerate(annotations)
        if (part == "annotations" and number == place)
        or (part == "images" and row["image_id"] == before["id"])
        or (part == "categories" and row["category_id"] == before["id"])
    }
    if kind == "rows shuffled":
        content[part] = [rows[int(number)] for number in rng.permutation(len(rows))]
        lost = set()
    elif kind == "row duplicated":
        rows.append(before)
        lost = set()
    elif kind == "unusual row":
        rows[place] = _pick(rng, unusual)
    elif kind == "key missing":
        del rows[place][_pick(rng, list(before))]
    else:
        key = _pick(rng, list(before))
        rows[place][key] = _pick(rng, unusual)
        if part != "annotations" and key == "id" and type(rows[place][key]) in (bool, int, float):
            # It may now have the id of another row.
            lost |= {number for number, row in enumerate(annotations) if 1 in (row["image_id"], row["category_id"])}
    return f"{kind} in {part}", json.dumps(content).encode(), lost


if __name__ == "__main__":
    command_line.run(main)
