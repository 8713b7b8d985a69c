"""The variants of the augmentations can be trained on both datasets."""

import re
import runpy

import pytest

from tests.verbs import ROOT
from tfeff import config, training

PATH = ROOT / "configs" / "detector_augmentation.py"
MODULE = runpy.run_path(str(PATH))
BCCD = re.search(r"folds of BCCD[^:]*: (.*?)\n *\"several", MODULE["__doc__"], re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "sizes"),
    [
        ([], ["128x128", "192x192", "256x256"]),
        (BCCD and [*BCCD[1].split(), "model.resolution=256"], ["128x192", "192x256", "256x320"]),
    ],
)
def test_several_resolutions(overrides: list[str], sizes: list[str]) -> None:
    overrides = [*overrides, *MODULE["VARIANTS"]["several resolutions"], "model.weights=none"]
    plan = training.Plan.of(config.override(config.load(str(PATH), config.Experiment), overrides))
    assert str(plan.resolutions(plan.build_network())).split(", ") == sizes
