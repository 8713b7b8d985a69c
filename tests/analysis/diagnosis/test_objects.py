"""The link of the objects, on counts alone."""

import numpy as np
import pytest

from tfeff.analysis.diagnosis.objects import check_objects
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import PixelArray
from tfeff.recipes import rules


@pytest.mark.parametrize(("counts", "said"), [((39, 3), "13.0 times"), ((30, 10), "3.0 times"), ((29, 10), None)])
def test_imbalance_is_said_where_recipes_balance_classes(counts: tuple[int, int], said: str | None) -> None:
    labels = np.repeat([0, 1], counts)
    storage = PixelArray(np.zeros((len(labels), 2, 2, 3), np.uint8), "")
    images = Dataset("pets", ("cat", "dog"), [str(i) for i in range(len(labels))], storage, labels=labels)
    (finding,) = [each for each in check_objects({"train": images}).findings if "most frequent" in each.what] or [None]
    assert (finding is not None) == rules.class_balanced(counts[0] / counts[1]).value == (said is not None)
    if finding is not None:
        assert f"(cat) has {said} the examples of the rarest (dog)" in finding.what
        assert "data.class_balanced=true" in finding.fix
    balanced = check_objects({"train": images}, balanced=True).findings
    assert not [each for each in balanced if "most frequent" in each.what]


@pytest.mark.parametrize("kept", [0, 1])
def test_a_split_of_ignored_objects_has_nothing_to_learn(kept: int) -> None:
    storage, boxes = PixelArray(np.zeros((4, 8, 8, 3), np.uint8), ""), np.array([[0, 0, 4, 4]], np.float32)
    none, one = np.zeros(1, bool), np.zeros(1, np.int32)
    objects = [Objects(boxes, one, none, np.array([index >= kept])) for index in range(4)]
    images = Dataset("pets", ("cat",), list("abcd"), storage, objects=objects, sizes=np.full((4, 2), 8, np.int32))
    broken = [each.what for each in check_objects({"train": images}).findings if each.broken]
    assert ("all objects are difficult or crowds, which are neither learned nor counted." in broken) == (not kept)
