import subprocess
import sys

import pytest

from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.policy import Augmentation
from tfeff.errors import UserError


@pytest.mark.parametrize(
    ("field", "value"),
    [("rotation", -1), ("scale", 1), ("aspect", -0.1), ("mosaic", 2), ("min_share", 1.1), ("hue", 0.6)],
)
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(UserError, match=rf"augmentation\.{field}: {value}"):
        BoxAugmentation(**{field: value})


def test_nothing_is_on_by_default():
    assert not BoxAugmentation(min_share=0.5).any
    assert BoxAugmentation(mosaic=0.5).any
    assert BoxAugmentation(hue=0.1, scale=0.3).color == Augmentation(hue=0.1)


def test_it_is_made_without_tensorflow():
    code = "import sys, tfeff.data.augment.box_policy; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
