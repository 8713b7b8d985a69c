"""Two workers on this machine have the same weights as one worker, even if one of them is killed.

The runs are short on purpose: sums in another order are rounded differently, and once that flips a ReLU in a flat image
region, the weights diverge, just as those of one worker do with different rounding.
"""

import json
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.thoroughness import THOROUGH, only_thorough
from tests.verbs import ROOT
from tfeff.errors import UserError
from tfeff.execution import workers
from tfeff.training import checkpoint
from tools.benchmark_devices import free_ports

pytestmark = pytest.mark.slow

CONFIG = """
from tfeff.config import (
    Augmentation, ClassificationSettings, Data, Experiment, architecture, Optimizer, Training, YoloSettings
)

def get_config():
    return Experiment(
        task={task},
        model=architecture("resnet", width=4, resolution={resolution}, {model}),
        data=Data(source="embedded:{source}", channels=1{data}),
        optimizer=Optimizer(name="sgd", learning_rate=0.02, weight_decay=1e-3, clip_norm=1.0),
        training=Training(
            epochs=1, batch_size=32, ema_decay=0.99, precision="float32",
            checkpoint_seconds=0.05, accumulation_steps={parts},
        ),
    )
"""
# Parts of a batch of two workers are not those of one, so batch normalization excludes them here.
CONFIGS = {
    "classifier": CONFIG.format(
        task="ClassificationSettings(augmentation=Augmentation(shift=0.1), temperature_scaling=True)",
        resolution=8, model="stage_blocks=(1, 1), synchronized=True", source="digits", data="", parts=1,
    ),
    "accumulation": CONFIG.format(
        task="ClassificationSettings()",
        resolution=8, model="stage_blocks=(1, 1), batch_norm=False", source="digits",
        data=", train_examples=320", parts=2,
    ),
    "detector": CONFIG.format(
        task="YoloSettings()",
        resolution=48, model="stage_blocks=(1, 1, 1), synchronized=True", source="placed_digits:48",
        data=", train_examples=320, validation_examples=50", parts=1,
    ),
}  # fmt: skip
KILLS = {"classifier": min(THOROUGH, 10), "accumulation": 1, "detector": 1}
"""How often a worker is killed; runs of ten steps have too few checkpoints for more."""
TOLERANCES = {"classifier": 0.0, "accumulation": 0.0, "detector": 5e-4}


def start(verbs, config, workdir, addresses, index, *flags):
    cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return verbs.start(
        "train", f"--config={config}", f"--workdir={workdir}", *flags, env={"TF_CONFIG": json.dumps(cluster)}
    )


@only_thorough
@pytest.mark.timeout(2100)
@pytest.mark.parametrize("kind", CONFIGS)
def test_two_workers_match_one_even_if_one_is_killed(verbs, tmp_path, kind):
    config = tmp_path / "config.py"
    config.write_text(CONFIGS[kind])
    verbs("train", f"--config={config}", f"--workdir={tmp_path / 'one'}", "--noevaluate").succeeds()

    addresses = [f"localhost:{port}" for port in free_ports(2)]
    workers = [start(verbs, config, tmp_path / "two", addresses, index) for index in range(2)]
    checkpoints, last = checkpoint.Checkpoints(tmp_path / "two" / "checkpoints"), None
    for _ in range(KILLS[kind]):
        while checkpoints.latest() == last:
            for worker in workers:
                assert worker.poll() is None, worker.done()
            time.sleep(0.1)
        workers[1].kill()
        time.sleep(1)  # the first worker finishes writing
        last = checkpoints.latest()
        workers[1] = start(verbs, config, tmp_path / "two", addresses, 1)
    ends = [worker.done() for worker in workers]
    assert [end.code for end in ends] == [0, 0], ends
    said = ends[0].out + ends[0].err
    assert "lost another worker; restarting from the last checkpoint" in said
    assert "resuming from step" in said
    assert (tmp_path / "two" / "saved_model" / "saved_model.pb").is_file()  # written after the other worker had exited

    one, _ = checkpoint.load(tmp_path / "one" / "checkpoints" / "final.npz")
    two, _ = checkpoint.load(tmp_path / "two" / "checkpoints" / "final.npz")
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=TOLERANCES[kind], atol=1e-4, err_msg=name)
    rows = [json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[-1]) for run in ("one", "two")]
    validated = [{key: row[key] for key in row if key.startswith("validation_")} for row in rows]
    assert len(validated[0]) > 1
    assert validated[1] == pytest.approx(validated[0], rel=1e-3, abs=1e-3)


def test_workers_with_another_config_are_refused(verbs, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(CONFIGS["classifier"])
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    workers = [
        start(verbs, config, tmp_path / "run", addresses, index, f"--config.optimizer.learning_rate=0.{index + 1}")
        for index in range(2)
    ]
    for worker in workers:
        worker.done().fails_with("TF_CONFIG: worker 1 has another config than worker 0", "run the same command")


@pytest.mark.timeout(600)
def test_stopped_workers_save_the_same_step(verbs, tmp_path):
    """The second worker is stopped alone, and the first one saves the state; then both are stopped."""
    config = tmp_path / "config.py"
    config.write_text(CONFIGS["accumulation"])
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    flags = "--config.training.epochs=2000", "--config.training.checkpoint_seconds=300", "--noevaluate"
    saved = checkpoint.Checkpoints(tmp_path / "run" / "checkpoints")
    workers = [start(verbs, config, tmp_path / "run", addresses, index, *flags) for index in range(2)]

    def wait_for(step):
        while saved.step <= step:
            for worker in workers:
                assert worker.poll() is None, worker.done()
            time.sleep(0.1)

    wait_for(0)
    workers[1].signal(signal.SIGTERM)
    end = workers[1].done()
    assert (end.code, "this worker stopped" in end.out + end.err) == (128 + signal.SIGTERM, True), end
    workers[1] = start(verbs, config, tmp_path / "run", addresses, 1, *flags)
    wait_for(saved.step)
    workers[1].signal(signal.SIGTERM)
    workers[0].signal(signal.SIGTERM)
    ends = [worker.done() for worker in workers]
    assert [end.code for end in ends] == [128 + signal.SIGTERM] * 2, ends
    said = ends[0].out + ends[0].err
    assert "another worker was stopped; restarting from the last checkpoint" in said
    # in a validation, the epoch before it was saved
    assert any(end in said for end in (f"state saved at step {saved.step:,}", "resumes from its last checkpoint")), said


@pytest.mark.timeout(600)
def test_all_workers_end_if_the_training_diverges(verbs, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(CONFIGS["accumulation"])
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    flags = "--config.optimizer.learning_rate=1e30", "--config.optimizer.clip_norm=none"
    workers = [start(verbs, config, tmp_path / "run", addresses, index, *flags) for index in range(2)]
    for worker in workers:
        worker.done().fails_with("training diverged")


def test_a_taken_port_is_named(verbs, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(CONFIGS["classifier"])
    with socket.create_server(("localhost", 0)) as other:
        address = f"localhost:{other.getsockname()[1]}"
        worker = start(verbs, config, tmp_path / "run", [address, "localhost:1"], 0)
        worker.done().fails_with("TF_CONFIG", f"cannot listen on {address}", "another process")


@pytest.fixture(scope="module")
def failures():
    """What is wrong with each check of two devices."""
    command = [sys.executable, "-m", "tests.training.two_devices"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("check", ["steps", "updates", "resolutions", "predictions"])
def test_two_devices_match_one(failures, check):
    assert not failures[check]


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "3", "{", "[" * 100_000, '{"cluster": []}', '{"task": 1}', '{"cluster": {"worker": 3}}'),
        *(
            '{"cluster": {"worker": [1]}}',
            '{"task": {"index": "0"}}',
            '{"task": {"index": 1}}',
            '{"task": {"index": -1}}',
        ),
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
    ],
)
def test_a_wrong_tf_config_is_an_error(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=r"^TF_CONFIG(:| is not JSON)"):
        workers.worker_index()
