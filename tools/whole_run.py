"""One training with its evaluation, as a job of another process."""

import json
from typing import Any

from tfeff import config, training


def train_and_evaluate(experiment: config.Experiment, directory: str) -> dict[str, Any]:
    """Trains one network and evaluates it on the test split; resumes, and returns the contents of its `result.json`.

    Args:
        experiment: what to train.
        directory: its workdir.
    """
    reporter = training.Reporter()
    workdir = training.train(experiment, directory, reporter=reporter)
    if not (workdir.path / "result.json").is_file():
        training.finish_run(workdir, reporter, training.trained_model(workdir))
    return dict(json.loads((workdir.path / "result.json").read_text()))
