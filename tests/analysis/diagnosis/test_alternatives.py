"""Formats of boxes, against numbers by hand and round trips."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.diagnosis.drawn_objects import drawings, write_coco, write_voc, write_yolo
from tfeff.analysis.diagnosis.alternatives import ORDERS, UNITS, Reading, others, readings
from tfeff.analysis.diagnosis.annotations import Annotations
from tfeff.data.sources import catalog
from tfeff.data.sources.annotations import CORNERS, PIXELS

VOC = Reading(CORNERS, PIXELS)

SIZE = (96, 128)  # height, width
NUMBERS = {write_voc: (20, 10, 60, 40), write_coco: (20, 10, 40, 30), write_yolo: (0.3125, 25 / 96, 0.3125, 0.3125)}
"""The box from x = 20 to 60 and y = 10 to 40, as each writer writes it."""


@pytest.mark.parametrize("write", NUMBERS)
def test_the_formats_of_the_sources(write: Callable, tmp_path: Path) -> None:
    name = write(tmp_path, {"train": drawings(1, 0, size=SIZE)})
    reading = Reading(*catalog.open_objects(name).box_format)
    np.testing.assert_allclose(reading.decode(np.array([NUMBERS[write]], float), SIZE), [[10, 20, 40, 60]])


def test_other_formats_are_left_out_if_the_format_is_unknown(tmp_path: Path) -> None:
    images = catalog.open_objects(write_voc(tmp_path, {"train": drawings(1, 0, size=SIZE)})).load("train")
    assert all("are written as" not in each.what for each in readings(Annotations.of(images), None))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("unit", UNITS)
def test_decoding_inverts_encoding(order: str, unit: str) -> None:
    boxes = np.random.default_rng(0).uniform(-5, 205, (20, 4))
    reading = Reading(order, unit)
    np.testing.assert_allclose(reading.decode(reading.encode(boxes, SIZE), SIZE), boxes, atol=1e-9)


def test_others_are_all_others_with_the_same_unit_first() -> None:
    found = others(VOC)
    assert len(set(found)) == len(ORDERS) * len(UNITS) - 1
    assert {each.unit for each in found[: len(ORDERS) - 1]} == {VOC.unit}
