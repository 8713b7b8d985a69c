import re
import subprocess
import sys

import pytest

from tfeff.data.augment.policy import Augmentation, BoxAugmentation
from tfeff.errors import UserError


@pytest.mark.parametrize(
    ("field", "value"),
    [("rotation", -1), ("shift", 1.5), ("scale", 1), ("shear", 90), ("hue", 0.6), ("randaugment_magnitude", 11)],
)
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(UserError, match=rf"augmentation\.{field}: {value}"):
        Augmentation(**{field: value})


def test_everything_is_off_by_default():
    assert not Augmentation().any
    assert not Augmentation(randaugment_magnitude=5).any
    assert Augmentation(cutmix_alpha=1.0).mixes
    assert Augmentation(shear=5).warps
    assert Augmentation(hue=0.1).jitters


@pytest.mark.parametrize("module", ["augment.policy", "folds", "splits", "input.order"])
def test_it_does_not_import_tensorflow(module):
    code = f"import sys, tfeff.data.{module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rotation", -1),
        ("scale", 1),
        ("aspect", -0.1),
        ("mosaic", 2),
        ("mixup", -0.5),
        ("copy_paste", 1.5),
        ("autoaugment", "v4"),
        ("min_share", 1.1),
        ("hue", 0.6),
        ("scale_range", (2.0, 0.1)),
    ],
)
def test_a_value_out_of_range_is_named_box_policy(field, value):
    with pytest.raises(UserError, match=rf"augmentation\.{field}: {re.escape(str(value))}"):
        BoxAugmentation(**{field: value})


def test_scale_and_scale_range_exclude_each_other():
    with pytest.raises(UserError, match="set either scale or scale_range"):
        BoxAugmentation(scale=0.2, scale_range=(0.1, 2.0))
    assert BoxAugmentation(scale_range=(0.1, 2.0)).resizes


def test_everything_is_off_by_default_box_policy():
    assert not BoxAugmentation(min_share=0.5).any
    assert BoxAugmentation(mosaic=0.5).any
    policies = {}, {"hue": 0.1}, {"mixup": 1}, {"mosaic": 0.5}, {"mosaic": 1, "mixup": 0.1, "copy_paste": 0.1}
    assert [BoxAugmentation(**each).images for each in policies] == [1, 1, 2, 4, 6]
    assert [BoxAugmentation(**each).mixes for each in policies] == [False, False, True, True, True]
    assert BoxAugmentation(hue=0.1, scale=0.3).color == Augmentation(hue=0.1)


def test_it_does_not_import_tensorflow_box_policy():
    code = "import sys, tfeff.data.augment.policy; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
