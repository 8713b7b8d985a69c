"""Killed at random moments and restarted, a run ends bit-identical."""

import json
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.thoroughness import THOROUGH, only_thorough
from tfeff.training import checkpoint

KILLS = THOROUGH or 2
TIMES = ("seconds", "images_per_second", "input_wait", "crc32")  # the checksum is also that of the times

CONFIG = """
from tfeff.config import *

def get_config():
    return Experiment(
        task=ClassificationSettings(
            augmentation=Augmentation(rotation=10, shift=0.1, mixup_alpha=0.2, random_erasing=0.2),
        ),
        model=architecture("resnet", width=4, stage_blocks=(1, 1), resolution=16, dropout=0.2),
        data=Data(source="embedded:digits", channels=1, class_balanced=True),
        optimizer=Optimizer(
            name="rmsprop", learning_rate=0.003, weight_decay=1e-3, weight_decay_kind="l2", frozen=("stem*",),
            unfreeze=("2=stem*",),
            learning_rate_factors=("stage1*=0.1",),
        ),
        schedule=Schedule(name="plateau", patience_epochs=1, decay_rate=0.5),
        training=Training(
            epochs=4, batch_size=32, resolution_factors=(0.5, 1.0), ema_decay=0.99, deterministic=True,
            checkpoint_seconds=0.05, keep="best",
        ),
    )
"""


def command(config: Path, workdir: Path) -> list[str]:
    return ["train", f"--config={config}", f"--workdir={workdir}", "--noevaluate"]


@pytest.fixture(scope="module")
def uninterrupted(verbs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted")
    config = directory / "config.py"
    config.write_text(CONFIG)
    began = time.monotonic()
    verbs(*command(config, directory / "run")).succeeds()
    return config, directory / "run", time.monotonic() - began


def without_times(workdir: Path) -> list[dict]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def assert_same_end(first: Path, second: Path):
    for name in ("final.npz", "best.npz"):
        one, _ = checkpoint.load(first / "checkpoints" / name)
        other, _ = checkpoint.load(second / "checkpoints" / name)
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=f"{name}: {key}")
    last = [checkpoint.load(checkpoint.Checkpoints(run / "checkpoints").latest()) for run in (first, second)]
    for key, array in last[0][0].items():
        np.testing.assert_array_equal(array, last[1][0][key], err_msg=key)
    assert last[0][1] == last[1][1]
    assert without_times(first) == without_times(second)


@only_thorough
def test_restarts_after_sigkill_are_bit_identical(verbs, uninterrupted, tmp_path):
    config, whole, seconds = uninterrupted
    rng = random.Random(7)
    kills = 0
    attempt = 0
    while kills < KILLS:
        attempt += 1
        run = tmp_path / f"run{attempt}"
        while kills < KILLS and not (run / "checkpoints" / "final.npz").is_file():
            process = verbs.start(*command(config, run))
            time.sleep(rng.uniform(0.2, 1.0) * seconds)
            kills += process.poll() is None
            process.kill()
        verbs(*command(config, run)).succeeds()
        assert_same_end(whole, run)


@only_thorough
def test_signals_save_the_state(verbs, uninterrupted, tmp_path):
    config, whole, _ = uninterrupted
    run = tmp_path / "run"
    checkpoints = checkpoint.Checkpoints(run / "checkpoints")
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = checkpoints.latest()
        process = verbs.start(*command(config, run))
        while checkpoints.latest() == before:
            assert process.poll() is None
            time.sleep(0.05)
        process.signal(number)
        done = process.done()
        assert done.code == code, done
        assert "state saved at step" in done.err
        assert "Traceback" not in done.err
        step = checkpoint.load(checkpoints.latest())[1]["step"]
        assert f"{step:,}" in done.err
    verbs(*command(config, run)).succeeds()
    assert_same_end(whole, run)


@only_thorough
def test_a_finished_run_is_not_changed(verbs, uninterrupted):
    config, run, _ = uninterrupted
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert "already finished" in verbs(*command(config, run)).succeeds().out
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


@only_thorough
def test_error_if_the_workdir_belongs_to_another_config(verbs, uninterrupted):
    config, run, _ = uninterrupted
    again = verbs(*command(config, run), "--config.optimizer.learning_rate=0.5")
    again.fails_with("optimizer.learning_rate: saved 0.003, now 0.5")
