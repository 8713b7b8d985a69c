"""Damaged annotations and what a reader must make of them; the cases of `fuzz_annotations.py`."""

import io
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import fuzzing
import numpy as np
from PIL import Image

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.errors import UserError

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

ObjectCounts = Counter[tuple[str, str, tuple[float, ...]]]
"""(image, class, box) -> number of objects."""


@dataclass(frozen=True)
class Annotations:
    """A damaged dataset on disk.

    Attributes:
        damage: kind of damage.
        load: reads the dataset.
        expected: the objects that are not damaged.
        may_fail: whether the reader may raise `UserError`.
        may_lose: whether it may lose undamaged objects, if it counts a defect.
        any_class: whether their classes may change, because the names of classes are damaged.
    """

    damage: str
    load: Callable[[], Dataset]
    expected: ObjectCounts
    may_fail: bool = False
    may_lose: bool = False
    any_class: bool = False

    def case(self, kind: str) -> fuzzing.Case:
        """Returns the case for the harness."""
        return fuzzing.Case(kind, self.damage, self.check)

    def check(self) -> tuple[str, str]:
        """See `fuzzing.Case`."""
        try:
            source = self.load()
        except UserError as error:
            allowed = self.may_fail or "rename the class" in str(error)
            return "UserError", "" if allowed else f"undamaged objects lost by UserError\n{str(error)[:500]}"
        text = source.defects.text()
        result = "read" + (", defects reported" if text else "")
        if violation := invalid_output(source):
            return result, violation
        expected, found = self.expected, object_counts(source)
        if self.any_class:
            expected, found = _without_classes(expected), _without_classes(found)
        missing = list((expected - found).items())
        if missing and not (self.may_lose and text):
            return result, f"silent: undamaged objects lost\n{missing[:3]}\n{text[:500]}"
        return result, ""


def _without_classes(counts: ObjectCounts) -> ObjectCounts:
    result = ObjectCounts()
    for (image, _, box), count in counts.items():
        result[image, "", box] += count
    return result


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


def image(size: tuple[int, int], cache: dict[tuple[int, int], bytes] = {}) -> bytes:  # noqa: B006 (shared by all calls)
    """Returns a black PNG of the given size."""
    if size not in cache:
        file = io.BytesIO()
        Image.new("L", size[::-1]).save(file, "png")
        cache[size] = file.getvalue()
    return cache[size]


def write(path: Path, content: bytes) -> None:
    """Writes a file, and the folder that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
