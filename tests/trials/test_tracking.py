"""Both trackers follow a sweep that was started from the command line, and record the result of a search."""

import json
import time
from pathlib import Path

import mlflow
import pytest

from tests.training.tracking.wandb_files import ended, wandb_records
from tests.trials.one_process import IN_ONE_PROCESS
from tests.verbs import Verbs
from tfeff.trials import tracking

CONFIG = """
from tfeff.config import *

def get_config():
    return Sweep(
        experiment=Experiment(
            model=architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
            data=Data(source="embedded:digits", channels=1, train_examples=None),
            training=Training(epochs=1, batch_size=32, precision="float32"),
        ),
        axes=("optimizer.learning_rate=0.1|0.0001",),
        folds=Folds(count=2, examples=100, validation_fraction=0.5),
    )
"""


@pytest.mark.slow
def test_a_sweep_is_one_run_of_each_tracker(verbs: Verbs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    env = {"MLFLOW_TRACKING_URI": store, "WANDB_MODE": "offline"}
    client = mlflow.MlflowClient(store)
    experiment = client.create_experiment("tfeff", artifact_location=str(tmp_path / "artifacts"))
    (tmp_path / "config.py").write_text(CONFIG + IN_ONE_PROCESS)
    flags = (f"--config={tmp_path / 'config.py'}", f"--workdir={tmp_path / 'sweep'}")
    verbs("search", *flags, "--track=mlflo", env=env).fails_with("did you mean", "mlflow")
    verbs("search", *flags, "--processes=1", "--track=mlflow,wandb", env=env).succeeds()
    verbs("search", *flags, env=env).succeeds()  # continues the runs, and has nothing to send
    result = json.loads((tmp_path / "sweep" / "result.json").read_text())
    best = next(row for row in result["candidates"] if row["name"] == result["chosen"])

    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.status) == ("sweep", "FINISHED")
    assert run.data.params["axes"] == "('optimizer.learning_rate=0.1|0.0001',)"
    assert run.data.tags["result.sentence"] == result["sentence"]
    assert "--track=mlflow,wandb" in run.data.tags["provenance.command"]
    assert run.data.metrics["chosen/mean"] == best["mean"]
    assert run.data.metrics["result/epochs"] == 4
    files = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert files == {"result.json", "report.html", "candidates.md", "best.json", "figures", "candidates.json"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    sent = json.loads(Path(client.download_artifacts(run.info.run_id, "candidates.json", tmp_path)).read_text())
    rows = [dict(zip(sent["columns"], row, strict=True)) for row in sent["data"]]
    assert [row["mean"] for row in rows] == [row["mean"] for row in result["candidates"]]
    assert rows[0]["settings/optimizer.learning_rate"] == result["candidates"][0]["settings"]["optimizer.learning_rate"]

    logs = list((tmp_path / "sweep").glob("wandb/offline-run-*/run-*.wandb"))
    assert len({path.name for path in logs}) == 1
    while not all(map(ended, logs)):  # a process of its own is still writing
        time.sleep(0.1)
    records = [record for path in logs for record in wandb_records(path)]
    items = [item for record in records for item in (*record.history.item, *record.summary.update)]
    values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
    assert values["chosen/mean"] == best["mean"]
    assert (values["candidates/nrows"], values["figures/effects/_type"]) == (2, "image-file")
    artifacts = {record.artifact.type for record in records if record.WhichOneof("record_type") == "artifact"}
    assert "search" in artifacts


def test_costs_become_columns_and_the_choice_is_found() -> None:
    """As of a budget search, where networks that were not trained have no values."""
    rows = [
        {"id": "a", "costs": {"macs": 10, "params": 3}, "values": [0.5, 0.7], "mean": 0.6},
        {"id": "b", "costs": {"macs": 20}, "values": [], "mean": None},
    ]
    columns = {"id": "b", "costs/macs": 20, "costs/params": None, "values": "[]", "mean": None}
    assert tracking.table(rows)[1] == columns
    found = tracking.chosen({"chosen": "a", "networks": rows})
    assert found == {"chosen/costs/macs": 10.0, "chosen/costs/params": 3.0, "chosen/mean": 0.6}
    assert tracking.chosen({"alpha": 1.2, "networks": [{"network": "compound", "macs": 5}]}) == {}
