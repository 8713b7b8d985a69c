"""Damaged files of Pascal VOC."""

import re
from pathlib import Path
from xml.etree import ElementTree

import fuzzing
import numpy as np
from fuzzing import flipped, inserted, pick

from damaged.annotations import UNUSUAL_NAMES, UNUSUAL_NUMBERS, Annotations, Document, documents, image, write
from tfeff.data.sources import voc
from tfeff.data.sources.source import Options

_OBJECT = re.compile(rb"<object>.*?</object>", re.DOTALL)
_BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "aaaaaaaaaa">%s]><annotation>&a9;</annotation>""" % b"".join(
    b'<!ENTITY a%d "%s">' % (level, b"&a%d;" % (level - 1) * 10) for level in range(1, 10)
)
_FILE = b"""<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>"""


def voc_case(data: Path) -> fuzzing.Make:
    """Makes cases from the files of BCCD and the raccoons; each has a damaged and an intact file."""
    originals = []
    for root, folder in ((data / "bccd/BCCD", "Annotations"), (data / "raccoon", "annotations")):
        source = voc.VOC(root, Options()).load("all")
        originals += documents(
            source, lambda name, at=root / folder: at / f"{name}.xml", lambda content: content.count(b"<object>")
        )

    def make(rng: np.random.Generator, root: Path) -> fuzzing.Case:
        document, neighbor = pick(rng, originals), pick(rng, originals)
        damage, content, untouched = pick(rng, (_voc_bytes, _voc_tree, _voc_tree, _voc_tree, _voc_file))(document, rng)
        for name, text, original in (("damaged", content, document), ("neighbor", neighbor.content, neighbor)):
            write(root / "Annotations" / f"{name}.xml", text)
            write(root / "JPEGImages" / f"{name}.png", image(original.size))
        expected = document.counts("damaged", untouched) + neighbor.counts("neighbor")
        return Annotations(damage, lambda: voc.VOC(root, Options()).load("all"), expected).case("voc")

    return make


def _voc_bytes(document: Document, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    kind = pick(rng, ("flipped bytes", "truncated", "inserted bytes"))
    if kind == "truncated":
        return kind, document.content[: int(rng.integers(len(document.content)))], []
    if kind == "inserted bytes":
        return kind, inserted(document.content, rng), []
    content, offsets = flipped(document.content, rng)
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
    return pick(
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
    kind = pick(
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
        part = pick(rng, (victim, box))
        child = pick(rng, list(part))
        if kind == "tag missing":
            part.remove(child)
        elif kind == "tag duplicated":
            duplicate = ElementTree.SubElement(part, child.tag)
            duplicate.text = pick(rng, UNUSUAL_NUMBERS)
            part.remove(duplicate)
            part.insert(0, duplicate)
        elif kind == "tags reordered":
            part[:] = [part[int(index)] for index in rng.permutation(len(part))]
        elif kind == "invalid number":
            pick(rng, list(box)).text = pick(rng, UNUSUAL_NUMBERS)
        elif kind == "unusual name":
            name = victim.find("name")
            assert name is not None
            name.text = pick(rng, UNUSUAL_NAMES)
        elif kind == "nested object":
            part.append(ElementTree.fromstring(ElementTree.tostring(pick(rng, objects))))
        elif kind == "object duplicated":
            root.append(victim)
        elif kind == "object missing" and victim in list(root):
            root.remove(victim)
        elif kind == "text in between":
            part.text = part.tail = pick(rng, UNUSUAL_NAMES)
        elif kind == "attributes":
            child.set("id", pick(rng, UNUSUAL_NUMBERS))
    headers = [child for child in root if child.tag != "object"]
    for header in headers:
        if kind == "unusual header":
            for inner in [header, *header]:
                inner.text = pick(rng, UNUSUAL_NAMES + UNUSUAL_NUMBERS)
        elif kind == "header missing":
            root.remove(header)
    if kind == "objects shuffled":
        root[:] = [root[int(index)] for index in rng.permutation(len(root))]
    untouched = [index for index in range(len(objects)) if harmless or index not in victims]
    return kind, ElementTree.tostring(root, encoding=pick(rng, ("utf-8", "us-ascii"))), untouched
