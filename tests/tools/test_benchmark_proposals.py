import argparse

import cv2
import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.proposals.baselines import OpenCVSelectiveSearch


def test_scaled_opencv_is_opencvs_mode_at_full_size(import_tool):
    tool = import_tool("benchmark_proposals")
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    image = cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_NEAREST)
    expected = OpenCVSelectiveSearch("fast", max_proposals=10_000)(image).boxes_yxyx
    found = tool.scaled_opencv(image, 1.0).boxes_yxyx
    assert len(expected) > 50
    assert set(map(tuple, found)) == set(map(tuple, expected))  # in a random order


def test_wrong_flags(import_tool):
    tool = import_tool("benchmark_proposals")
    parser = argparse.ArgumentParser()
    tool.add_flags(parser)
    for flags in ([], ["--sizes=time.png"], ["--threads=1,2"]):
        with pytest.raises(UserError, match="--dataset"):
            tool.run(parser.parse_args(flags))
    for flag in ("--mode=slow", "--threads=x", "--threads=0"):
        with pytest.raises(SystemExit) as exit:
            parser.parse_args([flag])
        assert exit.value.code == 2
