from pathlib import Path

import mlflow
import pytest

import tfeff
from tests.training.tracking.small_run import SETTINGS, measured
from tfeff import config, training
from tfeff.training.tracking.mirror import FILES
from tfeff.training.tracking.mlflow import MLflow
from tfeff.training.workdir import Workdir


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_mlflow_has_settings_metrics_figures_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts
    training.train(SETTINGS, tmp_path / "run", until_epoch=1, trackers=["mlflow"])
    client = mlflow.MlflowClient()
    (begun,) = client.search_runs([client.get_experiment_by_name("tfeff").experiment_id])
    assert begun.info.status == "KILLED"
    run = tfeff.train(SETTINGS, tmp_path / "run", quiet=True)  # continues the copy without being told
    (done,) = client.search_runs([begun.info.experiment_id])
    assert (done.info.run_id, done.info.status) == (begun.info.run_id, "FINISHED")
    assert done.data.params == {key: str(value) for key, value in config.flatten(run.config).items()}
    workdir = Workdir(run.workdir)
    for key, values in measured(workdir).items():
        assert [(each.step, each.value) for each in client.get_metric_history(done.info.run_id, key)] == values
    assert done.data.metrics["result/accuracy"] == workdir.result()["accuracy"]
    artifacts = {each.path for each in client.list_artifacts(done.info.run_id)}
    assert artifacts == {*FILES, "figures", "saved_model"}
    figures = {Path(each.path).name for each in client.list_artifacts(done.info.run_id, "figures")}
    assert figures == {path.name for path in workdir.figures.iterdir()}


@pytest.mark.slow
def test_changed_settings_are_tags_because_parameters_cannot_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    tracker = MLflow(tmp_path, None)
    for epochs, changed in ((2, {}), (5, {"config.training.epochs": "5"}), (2, {"config.training.epochs": "2"})):
        tracker.settings({"training.epochs": epochs, "model.name": "resnet"})
        sent = mlflow.MlflowClient().get_run(tracker.run).data
        assert sent.params == {"training.epochs": "2", "model.name": "resnet"}
        assert {key: value for key, value in sent.tags.items() if key.startswith("config.")} == changed
