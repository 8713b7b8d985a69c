import argparse

import numpy as np
import pytest

from tests.thoroughness import only_thorough
from tfeff.errors import UserError


@pytest.fixture
def serving(import_tool):
    return import_tool("benchmark_serving")


def side(serving, network, runtime, probability=0.5):
    return serving.Side(network, runtime, "", lambda batch: np.full((len(batch), 2), probability))


def test_rows_have_the_medians_and_the_ratios_of_each_round(serving):
    sides = [side(serving, serving.OURS, "LiteRT"), side(serving, serving.THEIRS, "SavedModel")]
    times = {16: {0: [1.0, 2.0, 4.0], 1: [4.0, 2.0, 2.0]}, 1: {0: [8.0, 8.0, 8.0], 1: [4.0, 4.0, 4.0]}}
    ours, theirs = serving.rows(sides, [0.0, 0.0], times, count=16)
    assert (ours["batch 16, images/s"], ours["batch 1, images/s"]) == ("8.0", "2.0")
    assert ours["quartiles, 16"] == "6.0 to 12.0"
    assert (ours["ratio, 16"], ours["quartiles of ratio, 16"]) == ("1.00", "0.75 to 2.50")
    assert (ours["ratio, 1"], theirs["ratio, 16"], theirs["ratio, 1"]) == ("0.50", "1.00", "1.00")


def test_every_image_is_predicted_in_every_round(serving):
    seen = []
    counting = serving.Side(serving.OURS, "LiteRT", "", lambda batch: seen.append(len(batch)), np.uint8)
    times = serving.seconds([counting], np.zeros((16, 1, 1, 3)), rounds=3)
    assert {size: len(each[0]) for size, each in times.items()} == {16: 3, 1: 3}
    assert seen.count(16) == 4  # one of them to warm up
    assert seen.count(1) == 4 * 16


def test_sides_must_agree_in_float32(serving):
    batch = np.zeros((2, 1, 1, 3), np.uint8)
    first, other = side(serving, serving.OURS, "SavedModel"), side(serving, serving.OURS, "LiteRT", 0.502)
    rounded = side(serving, serving.THEIRS, "OpenVINO, bfloat16", 0.502)
    assert serving.largest_differences([first, rounded], batch) == pytest.approx([0, 0.002])
    with pytest.raises(UserError, match=r"tfeff, LiteRT: a probability differs by 2.0e-03"):
        serving.largest_differences([first, other], batch)


def test_a_side_without_its_package_is_skipped(serving, capsys):
    def missing():
        raise ImportError("No module named 'onnxruntime'")

    kept = side(serving, serving.OURS, "SavedModel")
    assert list(serving.available(iter([missing, lambda: kept]))) == [kept]
    assert "skipped: No module named 'onnxruntime'" in capsys.readouterr().err


def test_wrong_flags(serving):
    for flags, message in (({"rounds": 1, "threads": 2}, "--rounds"), ({"rounds": 2, "threads": 0}, "--threads")):
        with pytest.raises(UserError, match=message):
            serving.run(argparse.Namespace(**flags))


@only_thorough
def test_all_sides_predict_the_same(serving, tmp_path):
    ours, theirs = serving.networks()
    sides = [
        *serving.available(serving.our_sides(ours, tmp_path, 1)),
        *serving.available(serving.their_sides(theirs, tmp_path, 1)),
    ]
    assert len(sides) >= 4
    assert np.std(sides[0].predict(serving.images(4)), axis=0).max() > 0.01
    serving.largest_differences(sides, serving.images(2))
