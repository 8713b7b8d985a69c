"""Damaged files of YOLO: labels, class names, lists of images."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import fuzzing
import numpy as np
from fuzzing import flipped, pick

from damaged.annotations import UNUSUAL_NAMES, UNUSUAL_NUMBERS, Annotations, documents, image, write
from tfeff.data.sources import yolo
from tfeff.data.sources.source import Options


def yolo_case(data: Path) -> fuzzing.Make:
    """Makes cases from the labels of COCO128; some have a damaged list of class names instead."""
    root = data / "coco128"
    source = yolo.YOLO(root, Options()).load("all")
    originals = documents(
        source,
        lambda name: root / "labels" / Path(name).with_suffix(".txt"),
        lambda content: len(content.splitlines()),
    )

    def make(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
        document, neighbor = pick(rng, originals), pick(rng, originals)
        content, names = document.content, "names:\n" + "".join(f"  {n}: '{n}'\n" for n in range(80))
        untouched: Iterable[int] | None = None
        listed, declaration = b"images/damaged.png\nimages/neighbor.png\n", "data.yaml"
        what = pick(rng, ("lines", "lines", "lines", "names", "classes.txt", "list"))
        if what == "names":
            damage, names = _yolo_names(names, rng)
        elif what == "classes.txt":
            declaration = what
            damage, damaged = fuzzing.damaged("".join(f"{n}\n" for n in range(80)).encode(), rng)
            names = damaged.decode("latin-1")
        elif what == "list":
            damage, listed = fuzzing.damaged(listed, rng)
            names += "train: train.txt\n"
            if rng.random() < 0.5:
                declaration, names = "obj.data", "train = train.txt\n"
            write(folder / "train.txt", listed)
        else:
            damage, content, untouched = _yolo_lines(content, rng)
        write(folder / declaration, names.encode("latin-1" if what == "classes.txt" else "utf-8", "surrogatepass"))
        for name, text, original in (("damaged", content, document), ("neighbor", neighbor.content, neighbor)):
            write(folder / "labels" / f"{name}.txt", text)
            write(folder / "images" / f"{name}.png", image(original.size))
        expected = document.counts("damaged", untouched) + neighbor.counts("neighbor")
        if what == "list":
            found = [line.strip() for line in listed.decode("utf-8", "replace").splitlines()]
            expected = Counter()
            for name, each in (("damaged", document), ("neighbor", neighbor)):
                if f"images/{name}.png" in found:
                    expected += each.counts(name)
        return Annotations(
            damage if what in ("lines", "names") else f"{what}: {damage}",
            lambda: yolo.YOLO(folder, Options()).load("train" if what == "list" else "all"),
            expected,
            may_fail=what != "lines",
            may_lose=what != "lines",
            any_class=what != "lines",
        ).case("yolo")

    return make


def _yolo_names(names: str, rng: np.random.Generator) -> tuple[str, str]:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
    )
    choices = {
        "names: truncated": names[: int(rng.integers(len(names)))],
        "names: flipped bytes": flipped(names.encode(), rng)[0].decode("latin-1"),
        "names: YAML bomb": bomb + "names: [*a8, *a8]\n",
        "names: deep nesting": "names: " + "[" * 5000,
        "names: invalid number": f"names: {{{pick(rng, UNUSUAL_NUMBERS) or 0}: x}}",
        "names: huge number": "names: {99999999999: x}",
        "names: code": "names: !!python/object/apply:os.getcwd []",
        "names: cycle": "names: &a [*a]",
        "names: unusual": json.dumps({"names": [pick(rng, UNUSUAL_NAMES)] * 3}),
    }
    return pick(rng, list(choices.items()))


def _yolo_lines(content: bytes, rng: np.random.Generator) -> tuple[str, bytes, list[int]]:
    lines = content.rstrip(b"\n").split(b"\n")
    everything = range(len(lines))
    victims = {int(index) for index in rng.integers(len(lines), size=int(rng.integers(1, 4)))}
    kind = pick(
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
            lines[index] = flipped(lines[index], rng)[0].replace(b"\n", b"?").replace(b"\r", b"?")
        elif kind == "line missing":
            lines[index] = b""
        elif kind == "invalid number":
            words[column] = pick(rng, UNUSUAL_NUMBERS).encode()
            lines[index] = b" ".join(words)
        elif kind == "column missing":
            lines[index] = b" ".join(words[:column] + words[column + 1 :])
        elif kind == "extra column":
            lines[index] = b" ".join([*words[:column], pick(rng, UNUSUAL_NUMBERS).encode() or b"1", *words[column:]])
        elif kind == "garbage in line":
            lines[index] = rng.bytes(int(rng.integers(1, 80))).replace(b"\n", b"?").replace(b"\r", b"?")
    return kind, b"\n".join(lines), [index for index in everything if index not in victims]
