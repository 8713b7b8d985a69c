import json
import time
from pathlib import Path
from typing import Any

import pytest

import tfeff
from tests.training.tracking.small_run import SETTINGS, measured
from tests.training.tracking.wandb_files import ended, wandb_records
from tfeff.training.workdir import Workdir


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tfeff.train(SETTINGS, tmp_path / "run", track=["wandb"], quiet=True)
    workdir = Workdir(run.workdir)
    files = sorted(workdir.path.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert len({path.name for path in files}) == 1  # one run, in several files
    while not all(map(ended, files)):  # a process of its own is still writing
        time.sleep(0.1)
    records = [record for path in files for record in wandb_records(path)]
    history: dict[str, list[tuple[int, Any]]] = {}
    settings: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for record in records:
        items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for key, value in items.items():
            history.setdefault(key, []).append((items["_step"], value))
        changed = record.summary.update
        summary |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in changed}
        updates = (*record.run.config.update, *record.config.update)
        settings |= {item.key: json.loads(item.value_json) for item in updates}
    for key, values in measured(workdir).items():
        assert history[key] == values
    assert summary["result/accuracy"] == workdir.result()["accuracy"]
    assert settings["model.name"] == "resnet"
    figures = {key.rpartition("/")[0] for key in history if key.startswith("figures/")}
    assert figures == {f"figures/{path.stem}" for path in workdir.figures.glob("*.png")}
    assert [record.artifact.type for record in records if record.WhichOneof("record_type") == "artifact"] == ["model"]
