"""Runs of one network refuse what only runs of R-CNN have."""

from pathlib import Path

import pytest

from tfeff import training
from tfeff.errors import UserError
from tfeff.runs.network import NetworkRun


def test_forms_and_sensitivity_require_r_cnn(tmp_path: Path) -> None:
    run = NetworkRun(training.Workdir(tmp_path))
    with pytest.raises(UserError, match="--form requires the workdir of an R-CNN run"):
        run.saved_model("joint")
    with pytest.raises(UserError, match="--sensitivity requires the workdir of an R-CNN run"):
        run.measure_sensitivity()
