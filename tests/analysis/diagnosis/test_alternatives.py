"""Formats of boxes, against numbers by hand and round trips."""

import numpy as np
import pytest

from tfeff.analysis.diagnosis.alternatives import DECLARED, ORDERS, UNITS, Reading, declared, others

SIZE = (100, 200)  # height, width
# The box from x = 20 to 60 and y = 10 to 40.
NUMBERS = {
    "voc": (20, 10, 60, 40),
    "coco": (20, 10, 40, 30),
    "yolo": (0.2, 0.25, 0.2, 0.3),
    "tfds": (0.1, 0.1, 0.4, 0.3),
}


@pytest.mark.parametrize("scheme", DECLARED)
def test_the_formats_of_the_sources(scheme: str) -> None:
    box = declared(f"{scheme}:/some/where").decode(np.array([NUMBERS[scheme]], float), SIZE)
    np.testing.assert_allclose(box, [[10, 20, 40, 60]])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("unit", UNITS)
def test_decoding_inverts_encoding(order: str, unit: str) -> None:
    boxes = np.random.default_rng(0).uniform(-5, 205, (20, 4))
    reading = Reading(order, unit)
    np.testing.assert_allclose(reading.decode(reading.encode(boxes, SIZE), SIZE), boxes, atol=1e-9)


def test_others_are_all_others_with_the_same_unit_first() -> None:
    found = others(DECLARED["voc"])
    assert len(set(found)) == len(ORDERS) * len(UNITS) - 1
    assert {each.unit for each in found[: len(ORDERS) - 1]} == {DECLARED["voc"].unit}
