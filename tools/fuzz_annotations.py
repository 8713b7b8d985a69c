"""Malformed annotations, made of real ones, against the readers: `python tools/fuzz_annotations.py --data=DIR`.

DIR holds `bccd`, `raccoon` and `coco128`. Files are damaged as disks, editors, scripts and strangers damage them:
flipped and lost bytes, tags missing, doubled, out of order or nested by the thousand, numbers that are none, entity
bombs, names that lead elsewhere. A reader must end in time, raise nothing but `UserError`, give boxes inside their
images alone, and keep every object that the damage has left as it was.
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

import numpy as np
from PIL import Image

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.sources import coco, voc, yolo
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

SECONDS = 5.0
"""A file's time limit."""
ODD_NUMBERS = (
    "nan", "inf", "-inf", "-1", "0", "1e400", "-1e308", "1e308", "9" * 400, "9" * 5000, "1e-320", "1e-9", "0x10",
    "1,5", "१२", "", " ", "1_0", "true", "１", "--5", "1e", "\u202e12", "100000000000", "0.30000000000000004", "-0.0",
)  # fmt: skip
ODD_NAMES = (
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

Found = Counter[tuple[str, str, tuple[float, ...]]]  # (image, class, box) -> how often


@dataclass(frozen=True)
class Case:
    """A damaged data set on the disk.

    Attributes:
        damage: what was done.
        load: reads it.
        kept: objects that must be found.
        may_fail: whether a `UserError` is an answer.
    """

    damage: str
    load: Callable[[], Dataset]
    kept: Found
    may_fail: bool


@dataclass(frozen=True)
class Document:
    """A real annotation file without defects: its bytes, its image's (height, width), its objects in their order."""

    content: bytes
    size: tuple[int, int]
    objects: list[tuple[str, tuple[float, ...]]]

    def named(self, image: str, places: Iterable[int] | None = None) -> Found:
        """The objects, or those at some places, as an image of that name would have them."""
        chosen = range(len(self.objects)) if places is None else places
        return Counter((image, *self.objects[place]) for place in chosen)


def main() -> None:
    """Runs; exits with 1 after any failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000, help="files in all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failures = list[str]()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(arguments.data, Path(folder), arguments.count, arguments.seed, failures)
    for (form, damage, outcome), count in sorted(outcomes.items()):
        print(f"{count:6}  {form:5} {damage:28} {outcome}")
    for kind, count in Counter(failure.partition("\n")[0] for failure in failures).most_common():
        print(f"{count} x {kind}")
    for failure in failures[:10]:
        print(f"\n{failure}", file=sys.stderr)
    print(f"{sum(outcomes.values())} files, {len(failures)} failures")
    sys.exit(bool(failures))


def run(data: Path, folder: Path, count: int, seed: int, failures: list[str]) -> Counter[tuple[str, str, str]]:
    """Tries `count` files, a third in each form.

    Args:
        data: holds `bccd`, `raccoon` and `coco128`.
        folder: where damaged data sets are written.
        count: how many files.
        seed: file number i of a form is a function of (seed, i).
        failures: takes a text for each failure.

    Returns:
        (form, damage, outcome) -> how often.
    """
    outcomes = Counter[tuple[str, str, str]]()
    makers = {"voc": voc_case(data), "yolo": yolo_case(data), "coco": coco_case(data)}
    for number in range(count):
        form = tuple(makers)[number % len(makers)]
        rng = np.random.default_rng([seed, number])
        case = makers[form](folder / form, rng)
        outcome, failure = judged(case)
        outcomes[form, case.damage, outcome] += 1
        if failure:
            failures.append(f"{form}, {case.damage}: {failure}\nnumber {number} of seed {seed}")
    return outcomes


def judged(case: Case) -> tuple[str, str]:
    """What came of a case, in a word, and what is wrong with that (empty where nothing is)."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        source = case.load()
        text = source.defects.text()
        wrong = unsound(source)
        if wrong:
            return "read", wrong
        missing = case.kept - found(source)
        if missing:
            return "read", f"good objects lost\n{list(missing.items())[:3]}\n{text[:500]}"
        return "read" + (", defects told" if text else ""), ""
    except UserError as error:
        return "UserError", "" if case.may_fail else f"good objects lost by UserError\n{str(error)[:500]}"
    except TimeoutError:
        return "late", f"not done after {SECONDS} s"
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}\n{traceback.format_exc()[-2000:]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def found(source: Dataset) -> Found:
    """What a source holds, by value."""
    return Counter(
        (Path(name).stem, source.class_names[label], tuple(box))
        for name, objects in zip(source.ids, source.objects, strict=True)
        for label, box in zip(objects.labels.tolist(), objects.boxes_yxyx.tolist(), strict=True)
    )


def unsound(source: Dataset) -> str:
    """What must not come out of a reader; empty where nothing of it has."""
    for index, objects in enumerate(source.objects):
        with Image.open(io.BytesIO(source.encoded(index))) as image:
            limits = np.array([image.height, image.width] * 2)
        boxes = objects.boxes_yxyx
        if boxes.dtype != np.float32 or boxes.shape != (len(objects), 4) or not np.isfinite(boxes).all():
            return "boxes of another kind"
        if (boxes < 0).any() or (boxes > limits).any() or (boxes[:, 2:] <= boxes[:, :2]).any():
            return f"box outside its image, or without area\n{boxes.tolist()}"
        if ((objects.labels < 0) | (objects.labels >= len(source.class_names))).any():
            return "label without a class"
        if not len(objects.labels) == len(objects.difficult) == len(objects.crowd):
            return "flags that do not match"
    return ""


def documents(source: Dataset, annotation: Callable[[str], Path], count: Callable[[bytes], int]) -> list[Document]:
    """Those of a real data set's files whose objects were all read."""
    chosen = []
    for index, name in enumerate(source.ids):
        objects = source.objects[index]
        content = annotation(name).read_bytes() if len(objects) else b""
        if len(objects) == count(content) > 0:
            size = decoding.encoded_size(source.encoded(index), name)
            names = [source.class_names[label] for label in objects.labels]
            chosen.append(
                Document(content, size, list(zip(names, map(tuple, objects.boxes_yxyx.tolist()), strict=True)))
            )
    return chosen


def _picture(size: tuple[int, int], cache: dict[tuple[int, int], bytes] = {}) -> bytes:  # noqa: B006 (is meant to stay)
    """A black PNG of a size."""
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


# Damage to bytes, which any file can suffer.


def _flipped(content: bytes, rng: np.random.Generator) -> tuple[bytes, list[int]]:
    """Some bytes replaced, and where."""
    damaged = bytearray(content)
    places = [int(place) for place in rng.integers(len(content), size=int(rng.integers(1, 6)))]
    for place in places:
        damaged[place] = int(rng.integers(256))
    return bytes(damaged), places


def _inserted(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content)))
    return content[:place] + rng.bytes(int(rng.integers(1, 200))) + content[place:]


# Pascal VOC

_OBJECT = re.compile(rb"<object>.*?</object>", re.DOTALL)
_BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "aaaaaaaaaa">%s]><annotation>&a9;</annotation>""" % b"".join(
    b'<!ENTITY a%d "%s">' % (level, b"&a%d;" % (level - 1) * 10) for level in range(1, 10)
)
_FILE = b"""<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>"""


def voc_case(data: Path) -> Callable[[Path, np.random.Generator], Case]:
    """Makes cases of the blood cells' and the raccoons' files, each beside a file that nobody touched."""
    every = []
    for root, folder in ((data / "bccd/BCCD", "Annotations"), (data / "raccoon", "annotations")):
        source = voc.VOC(root, Options()).load("all")
        every += documents(
            source, lambda name, at=root / folder: at / f"{name}.xml", lambda content: content.count(b"<object>")
        )

    def make(root: Path, rng: np.random.Generator) -> Case:
        document, neighbour = _pick(rng, every), _pick(rng, every)
        damage, content, untouched = _pick(rng, (_voc_bytes, _voc_tree, _voc_tree, _voc_tree, _voc_whole))(
            document, rng
        )
        for name, text, of in (("damaged", content, document), ("neighbour", neighbour.content, neighbour)):
            _write(root / "Annotations" / f"{name}.xml", text)
            _write(root / "JPEGImages" / f"{name}.png", _picture(of.size))
        kept = document.named("damaged", untouched) + neighbour.named("neighbour")
        return Case(damage, lambda: voc.VOC(root, Options()).load("all"), kept, may_fail=False)

    return make


def _voc_bytes(document: Document, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    kind = _pick(rng, ("flipped bytes", "truncated", "inserted bytes"))
    if kind == "truncated":
        return kind, document.content[: int(rng.integers(len(document.content)))], []
    if kind == "inserted bytes":
        return kind, _inserted(document.content, rng), []
    content, places = _flipped(document.content, rng)
    try:
        ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        return kind, content, []
    spans = [match.span() for match in _OBJECT.finditer(document.content)]
    return kind, content, [i for i, (a, b) in enumerate(spans) if not any(a <= place < b for place in places)]


def _voc_whole(document: Document, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    every = list(range(len(document.objects)))
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
            ("UTF-16", text.encode("utf-16"), every),
            ("byte order mark", b"\xef\xbb\xbf" + document.content, every),
            ("null bytes", document.content + bytes(50), []),
            ("deep nesting", nested.encode(), every),
            ("very deep nesting", b"<annotation>" + b"<a>" * 200_000 + b"</a>" * 200_000 + b"</annotation>", []),
        ),
    )


def _voc_tree(document: Document, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    """Damage to single tags of a file that stays well-formed."""
    root = ElementTree.fromstring(document.content)
    objects = root.findall("object")
    victims = {int(place) for place in rng.integers(len(objects), size=int(rng.integers(1, 4)))}
    kind = _pick(
        rng,
        ("tag missing", "tag doubled", "tags reordered", "odd number", "odd name", "object in object", "object doubled",
         "object missing", "odd head", "head missing", "objects shuffled", "text in between", "attributes"),
    )  # fmt: skip
    harmless = kind in (
        "tags reordered",
        "object doubled",
        "odd head",
        "head missing",
        "objects shuffled",
        "attributes",
    )
    for victim in (objects[place] for place in sorted(victims)):
        box = victim.find("bndbox")
        assert box is not None
        part = _pick(rng, (victim, box))
        child = _pick(rng, list(part))
        if kind == "tag missing":
            part.remove(child)
        elif kind == "tag doubled":
            double = ElementTree.SubElement(part, child.tag)
            double.text = _pick(rng, ODD_NUMBERS)
            part.remove(double)
            part.insert(0, double)
        elif kind == "tags reordered":
            part[:] = [part[int(place)] for place in rng.permutation(len(part))]
        elif kind == "odd number":
            _pick(rng, list(box)).text = _pick(rng, ODD_NUMBERS)
        elif kind == "odd name":
            name = victim.find("name")
            assert name is not None
            name.text = _pick(rng, ODD_NAMES)
        elif kind == "object in object":
            part.append(ElementTree.fromstring(ElementTree.tostring(_pick(rng, objects))))
        elif kind == "object doubled":
            root.append(victim)
        elif kind == "object missing" and victim in list(root):
            root.remove(victim)
        elif kind == "text in between":
            part.text = part.tail = _pick(rng, ODD_NAMES)
        elif kind == "attributes":
            child.set("id", _pick(rng, ODD_NUMBERS))
    heads = [child for child in root if child.tag != "object"]
    for head in heads:
        if kind == "odd head":
            for inner in [head, *head]:
                inner.text = _pick(rng, ODD_NAMES + ODD_NUMBERS)
        elif kind == "head missing":
            root.remove(head)
    if kind == "objects shuffled":
        root[:] = [root[int(place)] for place in rng.permutation(len(root))]
    untouched = [place for place in range(len(objects)) if harmless or place not in victims]
    return kind, ElementTree.tostring(root, encoding=_pick(rng, ("utf-8", "us-ascii"))), untouched


# YOLO text


def yolo_case(data: Path) -> Callable[[Path, np.random.Generator], Case]:
    """Makes cases of COCO128's labels, now and then with damage to the list of names instead."""
    root = data / "coco128"
    source = yolo.YOLO(root, Options()).load("all")
    every = documents(
        source,
        lambda name: root / "labels" / Path(name).with_suffix(".txt"),
        lambda content: len(content.splitlines()),
    )

    def make(folder: Path, rng: np.random.Generator) -> Case:
        document, neighbour = _pick(rng, every), _pick(rng, every)
        content, names = document.content, "names:\n" + "".join(f"  {n}: '{n}'\n" for n in range(80))
        untouched: Iterable[int] | None = None
        named = rng.random() < 0.15
        if named:
            damage, names = _yolo_names(names, rng)
        else:
            damage, content, untouched = _yolo_lines(content, rng)
        _write(folder / "data.yaml", names.encode("utf-8", "surrogatepass"))
        for name, text, of in (("damaged", content, document), ("neighbour", neighbour.content, neighbour)):
            _write(folder / "labels" / f"{name}.txt", text)
            _write(folder / "images" / f"{name}.png", _picture(of.size))
        kept = Counter() if named else document.named("damaged", untouched) + neighbour.named("neighbour")
        return Case(damage, lambda: yolo.YOLO(folder, Options()).load("all"), kept, may_fail=named)

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
        "names: odd number": f"names: {{{_pick(rng, ODD_NUMBERS) or 0}: x}}",
        "names: huge number": "names: {99999999999: x}",
        "names: code": "names: !!python/object/apply:os.getcwd []",
        "names: cycle": "names: &a [*a]",
        "names: odd": json.dumps({"names": [_pick(rng, ODD_NAMES)] * 3}),
    }
    return _pick(rng, list(choices.items()))


def _yolo_lines(content: bytes, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    lines = content.rstrip(b"\n").split(b"\n")
    every = range(len(lines))
    victims = {int(place) for place in rng.integers(len(lines), size=int(rng.integers(1, 4)))}
    kind = _pick(
        rng,
        ("flipped bytes", "truncated", "line missing", "lines doubled", "lines shuffled", "odd number",
         "column missing", "column too many", "garbage in line", "carriage returns", "byte order mark", "empty lines",
         "no bytes", "tabs"),
    )  # fmt: skip
    if kind == "truncated":
        cut = int(rng.integers(len(content)))
        return kind, content[:cut], list(range(content[:cut].count(b"\n")))
    if kind in ("carriage returns", "byte order mark", "empty lines", "tabs", "lines shuffled", "lines doubled"):
        text = {
            "carriage returns": b"\r\n".join(lines),
            "byte order mark": b"\xef\xbb\xbf" + content,
            "empty lines": b"\n \n\n".join(lines),
            "tabs": content.replace(b" ", b"\t \t"),
            "lines shuffled": b"\n".join(lines[int(place)] for place in rng.permutation(len(lines))),
            "lines doubled": b"\n".join(lines * 2),
        }[kind]
        return kind, text, list(every)
    if kind == "no bytes":
        return kind, bytes(int(rng.integers(200))), []
    for place in victims:
        words = lines[place].split()
        column = int(rng.integers(5))
        if kind == "flipped bytes":
            lines[place] = _flipped(lines[place], rng)[0].replace(b"\n", b"?").replace(b"\r", b"?")
        elif kind == "line missing":
            lines[place] = b""
        elif kind == "odd number":
            words[column] = _pick(rng, ODD_NUMBERS).encode()
            lines[place] = b" ".join(words)
        elif kind == "column missing":
            lines[place] = b" ".join(words[:column] + words[column + 1 :])
        elif kind == "column too many":
            lines[place] = b" ".join([*words[:column], _pick(rng, ODD_NUMBERS).encode() or b"1", *words[column:]])
        elif kind == "garbage in line":
            lines[place] = rng.bytes(int(rng.integers(1, 80))).replace(b"\n", b"?").replace(b"\r", b"?")
    return kind, b"\n".join(lines), [place for place in every if place not in victims]


# COCO JSON


def coco_case(data: Path) -> Callable[[Path, np.random.Generator], Case]:
    """Makes cases of a COCO file of four of COCO128's images, written from their labels."""
    source = yolo.YOLO(data / "coco128", Options()).load("all")
    full = [index for index in range(len(source)) if len(source.objects[index])]
    sizes = {index: decoding.encoded_size(source.encoded(index), "") for index in full}

    def make(root: Path, rng: np.random.Generator) -> Case:
        chosen = [int(index) for index in rng.choice(full, 4, replace=False)]
        images, annotations, values = [], [], []
        for place, index in enumerate(chosen):
            name, size = Path(source.ids[index]).stem, sizes[index]
            images.append({"id": 10 + place, "file_name": f"{name}.png", "height": size[0], "width": size[1]})
            _write(root / "images" / f"{name}.png", _picture(size))
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
        kept = Counter() if lost is None else Counter(v for place, v in enumerate(values) if place not in lost)
        return Case(damage, lambda: coco.COCO(root, Options()).load("x"), kept, may_fail=lost is None)

    return make


def _coco_damage(content: dict[str, Any], rng: np.random.Generator) -> tuple[str, bytes, set[int] | None]:
    """Which annotations were damaged by it; None where nothing is promised."""
    text = json.dumps(content).encode()
    kind = _pick(
        rng,
        ("flipped bytes", "truncated", "inserted bytes", "deep nesting", "part missing", "part of another kind",
         *("odd value", "key missing", "odd row", "rows shuffled", "row doubled") * 3),
    )  # fmt: skip
    if kind == "flipped bytes":
        return kind, _flipped(text, rng)[0], None
    if kind == "truncated":
        return kind, text[: int(rng.integers(len(text)))], None
    if kind == "inserted bytes":
        return kind, _inserted(text, rng), None
    if kind == "deep nesting":
        return kind, b'{"images":' + b"[" * 100_000, None
    odd: tuple[Any, ...] = (
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
    odd += (
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
    if kind == "part missing":
        del content[part]
        return kind, json.dumps(content).encode(), None
    if kind == "part of another kind":
        content[part] = _pick(rng, odd)
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
    elif kind == "row doubled":
        rows.append(before)
        lost = set()
    elif kind == "odd row":
        rows[place] = _pick(rng, odd)
    elif kind == "key missing":
        del rows[place][_pick(rng, list(before))]
    else:
        key = _pick(rng, list(before))
        rows[place][key] = _pick(rng, odd)
        if part != "annotations" and key == "id" and type(rows[place][key]) in (bool, int, float):
            # It may now bear another row's number.
            lost |= {number for number, row in enumerate(annotations) if 1 in (row["image_id"], row["category_id"])}
    return f"{kind} in {part}", json.dumps(content).encode(), lost


if __name__ == "__main__":
    main()
