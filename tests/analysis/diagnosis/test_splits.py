"""Equal images with different labels, and images of several splits."""

import cv2
import numpy as np
import pytest

from tfeff.analysis.diagnosis.finding import Link
from tfeff.analysis.diagnosis.splits import check_splits
from tfeff.analysis.quality import examine, survey
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import EncodedImages


def images(name: str, numbers: list[int], labels: list[int], ids: list[str] | None = None) -> Dataset:
    """Returns images of noise, which are equal if their numbers are."""
    pixels = [np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8) for number in numbers]
    stored = EncodedImages([cv2.imencode(".png", each)[1].tobytes() for each in pixels], "1")
    ids = ids or [f"{name}{place}" for place in range(len(numbers))]
    return Dataset(name, ("cat", "dog"), ids, stored, labels=np.array(labels))


def checked(splits: dict[str, Dataset]) -> Link:
    return check_splits(splits, examine({role: survey(each, 100) for role, each in splits.items()}))


def test_equal_images_with_different_labels_are_found():
    link = checked({"train": images("train", [0, 1, 0, 2], [0, 0, 1, 1]), "test": images("test", [2, 3, 1], [0, 0, 0])})
    (finding,) = [each for each in link.findings if "another label" in each.what]
    assert finding.what == "4 of 7 images (57.1 %) have the same bytes as another one, but another label."
    assert finding.evidence == ["train0 (cat) = train2 (dog)", "train3 (dog) = test0 (cat)"]
    assert finding.broken


@pytest.mark.parametrize(("copies", "broken"), [(2, False), (3, True)])
def test_copies_in_validation_and_test_are_found(copies: int, broken: bool):
    """The one that is also in train is found there alone."""
    splits = {
        "train": images("train", [0, 1], [0, 0]),
        "validation": images("validation", [1, *range(10, 16)], [0] * 7),
        "test": images("test", [1, *range(10, 10 + copies), *range(20, 26 - copies)], [0] * 7),
    }
    link = checked(splits)
    (finding,) = [each for each in link.findings if "thresholds" in each.what]
    share = {2: "2 of 7 images of test (28.6 %)", 3: "3 of 7 images of test (42.9 %)"}[copies]
    assert finding.what == f"{share} are copies of images in validation, which chooses weights and thresholds."
    assert finding.evidence[:2] == ["validation1 ~ test1", "validation2 ~ test2"]
    assert finding.broken == broken
    assert (link.status == "broken") == broken
    assert "1 of 7 images of test (14.3 %) are also in train: the same bytes." in [each.what for each in link.findings]


def test_groups_in_validation_and_test_are_found():
    splits = {
        "train": images("train", [0, 1, 2], [0, 0, 0], ["a.png", "b.png", "c.png"]),
        "validation": images("validation", [3, 4, 5, 6], [0] * 4, ["a_flip.png", "d.png", "e.png", "f.png"]),
        "test": images("test", [7, 8, 9, 10], [0] * 4, ["a_crop.png", "d_flip.png", "e_flip.png", "f_flip.png"]),
    }
    link = checked(splits)
    (finding,) = link.faults
    assert finding.what == (
        "3 of 4 images of test (75.0 %) belong to groups that are also in validation, which chooses weights and "
        "thresholds: augmented copies of one original (NAME_flip, NAME_rot90)."
    )
    assert finding.evidence == ["d: d.png, d_flip.png"]
    assert len(link.notes) == 2
