"""Which settings are measured."""

import numpy as np
import pytest

from tfeff import config
from tfeff.rcnn import sensitivity


def test_variants_keep_the_batch_size_and_the_order_of_overlaps() -> None:
    joint = config.Joint(positives=20, negatives=44, positive_overlap=0.55, negative_overlap=0.4)
    measured = sensitivity.variants(config.RCNN(joint=joint), "joint")
    values = {key: [value for name, value, _ in measured if name == key] for key in sensitivity.JOINT}
    assert values == {
        "positives": [16, 20, 32, 64],
        "positive_overlap": [0.5, 0.55, 0.6, 0.7],
        "negative_overlap": [0.2, 0.3, 0.4, 0.5],
    }
    for key, value, section in measured:
        assert getattr(section, key) == value
        assert section.positives + section.negatives == 64
        section.check()


def test_a_difference_is_from_the_other_head() -> None:
    metrics = dict.fromkeys(sensitivity.METRICS, 0.5)
    worse = sensitivity.Measured(metrics | {"mAP@.5": 0.25}, dict.fromkeys(sensitivity.COMPARED, np.full(9, 0.2)))
    own = sensitivity.Measured(metrics, dict.fromkeys(sensitivity.COMPARED, np.linspace(0.4, 0.6, 9)))
    difference, low, high = worse.minus(own)["mAP@.5"]
    assert difference == -0.25
    assert (low, high) == pytest.approx((-0.395, -0.205))


@pytest.mark.parametrize("form", ["joint", "classic"])
def test_each_variant_changes_one_setting(form: str) -> None:
    settings = config.RCNN()
    for key, value, section in sensitivity.variants(settings, form):
        saved = getattr(settings, form)
        changed = {name for name in vars(saved) if getattr(section, name) != getattr(saved, name)}
        expected = set() if value == getattr(saved, key) else {key}
        assert changed - {"negatives"} == expected
