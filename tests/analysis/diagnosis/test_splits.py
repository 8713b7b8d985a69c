"""Equal images with different labels."""

import cv2
import numpy as np

from tfeff.analysis.diagnosis.splits import check_splits
from tfeff.analysis.quality import examine, survey
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import EncodedImages


def test_equal_images_with_different_labels_are_found():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    contents = [cv2.imencode(".png", each)[1].tobytes() for each in pixels]

    def images(name: str, numbers: list[int], labels: list[int]) -> Dataset:
        ids = [f"{name}{number}" for number in range(len(numbers))]
        stored = EncodedImages([contents[number] for number in numbers], "1")
        return Dataset(name, ("cat", "dog"), ids, stored, labels=np.array(labels))

    splits = {"train": images("train", [0, 1, 0, 2], [0, 0, 1, 1]), "test": images("test", [2, 3, 1], [0, 0, 0])}
    link = check_splits(splits, examine({role: survey(each, 100) for role, each in splits.items()}))
    (finding,) = [each for each in link.findings if "another label" in each.what]
    assert finding.what == "4 of 7 images (57.1 %) have the same bytes as another one, but another label."
    assert finding.evidence == ["train0 (cat) = train2 (dog)", "train3 (dog) = test0 (cat)"]
    assert finding.broken
