import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

import tfeff
from tests.training.tracking.small_run import SETTINGS, measured
from tfeff.training.workdir import Workdir

BLOCK, HEADER, FULL, LAST = 1 << 15, struct.Struct("<IHB"), 1, 4


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


def ended(file: Path) -> bool:
    """Whether the last record says that the run has ended."""
    records = wandb_records(file)
    return bool(records) and records[-1].WhichOneof("record_type") == "exit"


def wandb_records(file: Path) -> list[Any]:
    """The records of a file: the log format of LevelDB after a header of seven bytes."""
    data, position, parts, records = file.read_bytes(), 7, b"", []
    while position < len(data):
        if 0 < (rest := -position % BLOCK) < HEADER.size:  # too short for a header: padding
            position += rest
            continue
        _, length, kind = HEADER.unpack_from(data, position)
        position += HEADER.size
        parts += data[position : position + length]
        position += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            records.append(record)
            parts = b""
    return records
