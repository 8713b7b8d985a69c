"""The links of classes and objects with thousands of classes, whose cost is linear."""

import time

import numpy as np
import pytest

from tfeff.analysis.diagnosis import classes, objects
from tfeff.data import folds
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import EncodedImages

SECONDS = 10.0
"""A tenth of it is enough; pairs of all classes would take minutes."""


def dataset(labels: list[list[int]], names: tuple[str, ...], sides: list[list[float]] | None = None) -> Dataset:
    """Returns images with square objects."""
    found = []
    for row, each in enumerate(labels):
        side = np.array(sides[row] if sides else np.full(len(each), 10.0), np.float32).reshape(-1, 1)
        boxes = np.concatenate([np.zeros((len(each), 2), np.float32), side, side], axis=1)
        flags = np.zeros(len(each), bool)
        found.append(Objects(boxes, np.array(each, np.int32), flags, flags))
    ids = [f"{index:06}.png" for index in range(len(labels))]
    return Dataset("voc:x/train", names, ids, EncodedImages([b""] * len(ids), "1"), objects=found)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("cat", "dog"), []),
        (("catfish", "catfisch", "dogfish"), [(0, 1)]),  # a letter more
        (("catfish", "katfish"), [(0, 1)]),  # another letter
        (("catfish", "actfish"), [(0, 1)]),  # two letters swapped
        (("catfish", "kattfish"), []),
        (("same", "other", "same"), [(0, 2)]),
    ],
)
def test_names_that_differ_by_a_letter(names: tuple[str, ...], pairs: list[tuple[int, int]]) -> None:
    assert classes._differing_by_a_letter(names) == pairs


def test_a_rare_spelling_among_thousands_of_classes_is_found_in_seconds() -> None:
    letters = np.random.default_rng(0).integers(97, 123, (10_000, 12), np.uint8)
    names = (*(bytes(row).decode() for row in letters), "hippopotamus", "hipopotamus")
    labels = [[number % len(names)] for number in range(20_000)] + [[10_000]] * 30
    start = time.process_time()
    link = classes.check_classes({"train": dataset(labels, names)})
    found = [finding.what for finding in link.findings if "two spellings" in finding.what]
    objects.check_objects({"train": dataset(labels, names)})
    assert time.process_time() - start < SECONDS
    assert found == ['the classes "hippopotamus" and "hipopotamus" are probably one class in two spellings.']


def test_classes_without_labels_in_a_stretch_are_found_among_thousands() -> None:
    names = tuple(f"class {number}" for number in range(5_000))
    labels = [[0, 1, 2 + index % 4_998] if not 100 <= index < 200 else [0, 2 + index % 4_998] for index in range(3_000)]
    start = time.process_time()
    (finding,) = objects.missing_annotations({"train": dataset(labels, names)})
    assert time.process_time() - start < SECONDS
    assert finding.what.startswith("no class 1 is labeled in 100 consecutive images")
    assert finding.evidence == ["from 000100.png to 000199.png"]


def test_groups_of_thousands_of_classes_are_dealt_out_in_seconds() -> None:
    """A dense table of groups and classes would have 400 million entries."""
    labels = np.repeat(np.arange(5_000), 16)
    groups = np.arange(80_000) // 2  # pairs of one class
    start = time.process_time()
    fold = folds.holdout(labels, 0.25, seed=0, groups=groups)
    assert time.process_time() - start < SECONDS
    assert (np.bincount(labels[fold.validation], minlength=5_000) == 4).all()
    assert not set(groups[fold.train]) & set(groups[fold.validation])


def spellings(*names: str) -> list[str]:
    """Returns what is found about the spelling of names, the first of which is the most frequent."""
    labels = [[0]] * 20 * len(names) + [[label] for label in range(len(names))]
    return [finding.what for finding in classes.check_classes({"train": dataset(labels, names)}).findings]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("A", "a"), ("A+", "A-"), ("A", "A-"), ("<5", ">5"), ("C", "C++"), ("c#", "C"), ("1-2", "12"), ("5", "5%")),
        *(("1 2", "12"), ("-", "+"), ("blood group A+", "blood group A-"), ("grade 1-2", "grade 12")),
    ],
)
def test_names_that_differ_in_signs_are_different_classes(one: str, other: str) -> None:
    assert spellings(one, other) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [("Disk", "disk "), ("traffic light", "traffic_light"), ("T-shirt", "tshirt"), ("class_1", "Class 1"), ("1", "01")],
)
def test_names_that_differ_in_case_and_separators_are_one_class(one: str, other: str) -> None:
    assert spellings(one, other) == [f'the classes "{one}" and "{other}" are probably one class in two spellings.']


def test_equal_numbers_are_one_class_and_missing_labels_are_none() -> None:
    link = classes.check_classes({"train": dataset([[0], [1], [2], [3]], ("1", "1.0", "10", "n/a"))})
    assert [finding.what for finding in link.findings] == [
        'the classes "1" and "1.0" are probably one class in two spellings.',
        'the class "n/a" stands for a missing label.',
    ]


def test_an_open_set_may_have_further_classes_after_those_of_the_training_split() -> None:
    splits = {"train": dataset([[0], [1]], ("ann", "bob")), "test": dataset([[2], [2]], ("ann", "bob", "zoe"))}
    assert classes.check_classes(splits, open_set=True).status == "fine"
    assert ["its class list differs" in each.what for each in classes.check_classes(splits).faults] == [True]
    other = {**splits, "test": dataset([[0], [2]], ("bob", "ann", "zoe"))}
    assert len(classes.check_classes(other, open_set=True).faults) == 1
