"""Two workers on this machine have the same weights as one worker, even if one of them is killed.

The runs are short on purpose: sums in another order are rounded differently, and once that flips a ReLU in a flat image
region, the weights diverge, just as those of one worker do with different rounding.
"""

import json
import socket
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from tests.thoroughness import THOROUGH, only_thorough
from tfeff.errors import UserError
from tfeff.execution import workers
from tfeff.training import checkpoint
from tools.benchmark_devices import free_ports

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


def start(verbs, config, workdir, addresses, index):
    cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return verbs.start("train", f"--config={config}", f"--workdir={workdir}", env={"TF_CONFIG": json.dumps(cluster)})


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


def test_a_taken_port_is_named(verbs, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(CONFIGS["classifier"])
    with socket.create_server(("localhost", 0)) as other:
        address = f"localhost:{other.getsockname()[1]}"
        worker = start(verbs, config, tmp_path / "run", [address, "localhost:1"], 0)
        worker.done().fails_with("TF_CONFIG", f"cannot listen on {address}", "another process")


def test_two_devices_match_one():
    """Two replicas against one device with the same batch, in float64 with synchronized batch normalization and (a
    thorough test) in float32 without: clipping, loss scaling, accumulation, regularization, frozen
    layers; and every optimizer's updates with weight decay and learning-rate factors, bit by bit."""
    script = """
        import sys
        import keras, numpy as np, tensorflow as tf
        from tfeff import config, models
        from tfeff.tasks import ClassificationTask, LocalizationTask
        from tfeff.training import optimizers
        from tfeff.training.averaging import Average
        from tfeff.training.freezing import freeze
        from tfeff.training.step import Step

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        rng = np.random.default_rng(0)
        batch = {
            "image": rng.uniform(0, 255, (16, 8, 8, 3)).astype(np.float32),
            "label": np.eye(5, dtype=np.float32)[rng.integers(0, 5, 16)],
            "weight": np.ones(16, np.float32),
            "box": np.sort(rng.uniform(0, 1, (16, 2, 2)), axis=1).reshape(16, 4).astype(np.float32),
        }
        smooth = config.ClassificationSettings(label_smoothing=0.1)
        tasks = {"classification": ClassificationTask(smooth), "localization": LocalizationTask()}

        def weights(strategy, task, batch_norm, parts=1, rematerialize=False, **options):
            replicas = strategy.num_replicas_in_sync
            # The i-th part of a batch holds the i-th part of each replica's share.
            order = np.arange(16).reshape(replicas, parts, -1).transpose(1, 0, 2).ravel() if replicas > 1 else range(16)
            shares = np.argsort(order).reshape(replicas, -1)

            def share(context):
                rows = shares[context.replica_id_in_sync_group]
                return {key: tf.constant(values[rows]) for key, values in batch.items()}

            with strategy.scope():
                keras.utils.set_random_seed(0)
                model = models.build("resnet", width=2, stage_blocks=(1, 1), resolution=8, num_classes=5,
                                     include_top=task == "classification", synchronized=True, batch_norm=batch_norm)
                if task == "localization":
                    model = models.localizer(model, num_classes=5, grid=2, hidden=(8,))
                for layer in model.layers:
                    if isinstance(layer, keras.layers.Conv2D):
                        layer.kernel.regularizer = keras.regularizers.L2(1e-2)
                freeze(model, ("stem*",))
                optimizer = optimizers.build("sgd", model, weight_decay=1e-3, **options)
                average = Average(model, 0.9)
            step = Step(model, optimizer, strategy, task=tasks[task], batch_size=16, accumulation_steps=parts,
                        rematerialize=rematerialize and replicas > 1, average=average)
            distributed = strategy.experimental_distribute_values_from_function(share)
            for index in range(2):
                sums = step.train(distributed, step=index, learning_rate=0.05)
            return [weight.numpy() for weight in (*model.weights, *average.variables)] + [sums.numpy()]

        one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        cases = [
            ("classification", {"clip_norm": 0.1, "l2": True, "learning_rate_factors": (("stage1*", 0.1),)}),
            ("localization", {"clip_norm": 0.1, "parts": 2, "loss_scaling": True, "rematerialize": True}),
        ]
        if thorough := int(sys.argv[1]):
            cases.append(("classification", {"parts": 2}))
        in_single = cases if thorough else []
        for floatx, tolerance, tested in (("float64", 1e-9, cases), ("float32", 1e-5, in_single)):
            keras.config.set_floatx(floatx)
            keras.mixed_precision.set_dtype_policy(floatx)
            for task, options in tested:
                batch_norm = floatx == "float64"
                pairs = zip(*(weights(each, task, batch_norm, **options) for each in (one, two)), strict=True)
                for expected, found in pairs:
                    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance, err_msg=str(options))

        def updated(strategy, name, l2):
            with strategy.scope():
                keras.utils.set_random_seed(0)
                names = ("first", "second")
                model = keras.Sequential([keras.Input((4, 4, 2)), *(keras.layers.Conv2D(3, 2, name=n) for n in names)])
                optimizer = optimizers.build(name, model, weight_decay=0.1, l2=l2,
                                             learning_rate_factors=(("*first*", 0.1),))
            optimizer.learning_rate = 0.05
            variables = model.trainable_variables
            for seed in range(2):
                rng = np.random.default_rng(seed)
                sums = [rng.normal(size=v.shape).astype(np.float32) for v in variables]
                strategy.run(lambda: optimizer.apply([tf.constant(each) for each in sums], variables))
            return model.get_weights()

        for name, l2 in (("sgd", False), ("rmsprop", True), ("adamw", False), ("muon", False)):
            for expected, found in zip(updated(tf.distribute.get_strategy(), name, l2), updated(two, name, l2)):
                np.testing.assert_array_equal(found, expected, err_msg=name)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(THOROUGH)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


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
