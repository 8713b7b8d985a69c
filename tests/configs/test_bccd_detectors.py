"""The configs of single detectors are the variants whose results the documents report."""

import runpy
from pathlib import Path

import pytest

from tfeff import config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("file", "variant"),
    [("bccd_yolo.py", "YOLO, from scratch"), ("bccd_efficientdet.py", "EfficientDet, ImageNet")],
)
def test_a_config_is_its_variant(file: str, variant: str) -> None:
    base = config.load(str(CONFIGS / "bccd_detectors.py"), config.Experiment)
    overrides = runpy.run_path(str(CONFIGS / "bccd_detectors.py"))["VARIANTS"][variant]
    single = config.load(str(CONFIGS / file), config.Experiment)
    assert config.differences(single, config.override(base, overrides)) == []
