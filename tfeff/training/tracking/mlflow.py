"""MLflow."""

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfeff.training.tracking.tracker import PROJECT, Tracker

_PARAMETERS = 100  # that a call may send
_LENGTH = 6000  # of the value of a parameter
_CHANGED = "config."  # begins the name of the tag of a parameter with another value
_REFUSED = re.compile(r"[^/\w.\- :]")  # in the name of a metric


class MLflow(Tracker):
    """A run of MLflow, in the experiment of MLFLOW_EXPERIMENT_NAME."""

    package = "mlflow"

    def __init__(self, directory: Path, run: str | None) -> None:
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
            run = self._client.create_run(number, run_name=directory.resolve().name).info.run_id
        else:
            self._client.update_run(run, status="RUNNING")
        self.run = run

    def settings(self, values: Mapping[str, Any]) -> None:
        """Sends the config. Parameters keep their first value: that of a run that continues with another is a tag."""
        texts, sent = {key: str(value)[:_LENGTH] for key, value in values.items()}, self._client.get_run(self.run).data
        parameters = [self._param(key, text) for key, text in texts.items() if key not in sent.params]
        for first in range(0, len(parameters), _PARAMETERS):
            self._client.log_batch(self.run, params=parameters[first : first + _PARAMETERS])
        shown = {key: sent.tags.get(_CHANGED + key, value) for key, value in sent.params.items()}
        self.tags({_CHANGED + key: text for key, text in texts.items() if shown.get(key, text) != text})

    def tags(self, values: Mapping[str, str]) -> None:
        """Sends texts about the run."""
        for key, value in values.items():
            self._client.set_tag(self.run, key, value[:_LENGTH])

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Sends metrics of a step."""
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        metrics = [self._metric(_REFUSED.sub("_", key), value, now, step) for key, value in values.items()]
        self._client.log_batch(self.run, metrics)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sends a table as MLflow's own function does, which needs pandas."""
        from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

        content = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
        file = {"path": f"{name}.json", "type": "table"}
        self._client.log_text(self.run, json.dumps(content), file["path"])
        known = json.loads(self._client.get_run(self.run).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
        if file not in known:
            self._client.set_tag(self.run, MLFLOW_LOGGED_ARTIFACTS, json.dumps([*known, file]))

    def files(self, paths: Iterable[Path], kind: str) -> None:
        """Sends files and folders."""
        for path in filter(Path.exists, paths):
            if path.is_dir():
                self._client.log_artifacts(self.run, str(path), path.name)
            else:
                self._client.log_artifact(self.run, str(path))

    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the run."""
        self._client.set_terminated(self.run, "FINISHED" if finished else "KILLED")
