"""MLflow."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from tfeff.training.tracking.tracker import PROJECT, Tracker, sent_files
from tfeff.training.workdir import Workdir

_PARAMETERS = 100  # that a call may send
_LENGTH = 6000  # of the value of a parameter


class MLflow(Tracker):
    """A run of MLflow, in the experiment of MLFLOW_EXPERIMENT_NAME."""

    package = "mlflow"

    def __init__(self, workdir: Workdir, run: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._param = Metric, Param
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._client = MlflowClient()
        if run is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = self._client.get_experiment_by_name(name)
            number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
            run = self._client.create_run(number, run_name=workdir.path.name).info.run_id
        else:
            self._client.update_run(run, status="RUNNING")
        self.run = run

    def settings(self, values: Mapping[str, Any], provenance: Mapping[str, str]) -> None:
        """Sends the config and the origin of the run."""
        parameters = [self._param(key, str(value)[:_LENGTH]) for key, value in values.items()]
        for first in range(0, len(parameters), _PARAMETERS):
            self._client.log_batch(self.run, params=parameters[first : first + _PARAMETERS])
        for key, value in provenance.items():
            self._client.set_tag(self.run, key, value)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Sends metrics of a step."""
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        self._client.log_batch(self.run, [self._metric(key, value, now, step) for key, value in values.items()])

    def files(self, workdir: Workdir) -> None:
        """Sends files, figures and the exported model."""
        for name, path in sent_files(workdir):
            if path.is_dir():
                self._client.log_artifacts(self.run, str(path), name)
            else:
                self._client.log_artifact(self.run, str(path))

    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the run."""
        self._client.set_terminated(self.run, "FINISHED" if finished else "KILLED")
