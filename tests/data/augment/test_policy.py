import subprocess
import sys

import pytest

from tfeff.data.augment.policy import Augmentation
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


@pytest.mark.parametrize("module", ["augment.policy", "augment.box_policy", "folds", "splits", "input.order"])
def test_it_does_not_import_tensorflow(module):
    code = f"import sys, tfeff.data.{module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
