from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

from tfeff import config, training
from tfeff.networks.heads import CLASSIFIER
from tfeff.training import precision
from tfeff.training.interruption import Interruption
from tfeff.training.step import Step

QUIET = training.Reporter(quiet=True)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that only steps advance."""
    now = [0.0]
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])
    return now


def steps_of(seconds, clock):
    """Makes steps that take `seconds[policy]` under the current dtype policy."""

    def make_step():
        duration = seconds[keras.mixed_precision.dtype_policy().name]

        def step():
            clock[0] += duration

        return step

    return make_step


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"),
    [(0.02, 0.01, "mixed_bfloat16"), (0.01, 0.02, "float32"), (0.02, 0.02, "float32")],
)
def test_the_faster_policy_is_chosen_float32_on_ties(float32, bfloat16, chosen, clock):
    make_step = steps_of({"float32": float32, "mixed_bfloat16": bfloat16}, clock)
    assert precision.faster("float32", "mixed_bfloat16", make_step) == chosen
    assert keras.mixed_precision.dtype_policy().name == "float32"


def unused():
    raise AssertionError("nothing is to be measured")


def test_a_policy_that_is_set_or_cannot_be_measured_is_not_timed(monkeypatch):
    assert precision.choose(may_measure=False, make_step=unused) == "float32"
    monkeypatch.setattr(precision, "choose", unused)
    settings = config.Experiment(training=config.Training(precision="mixed_float16"))
    assert precision.select_policy(training.Plan.of(settings), QUIET, Interruption()) == "mixed_float16"


def test_the_share_of_a_device_limits_no_policy_that_is_set():
    settings = config.Experiment(
        task=config.RCNNSettings(), training=config.Training(precision="float32", batch_size=128)
    )
    assert settings.task.joint.positives > 128 // 2
    assert precision.select_policy(training.Plan.of(settings), QUIET, Interruption(), replicas=2) == "float32"


@pytest.mark.parametrize(
    ("capability", "candidate"), [((9, 0), "mixed_bfloat16"), ((7, 5), "mixed_float16"), ((6, 1), "float32")]
)
def test_gpu_candidates_by_compute_capability(monkeypatch, capability, candidate, clock):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    fast = steps_of({"float32": 0.02, "mixed_bfloat16": 0.005, "mixed_float16": 0.005}, clock)
    slow = steps_of({"float32": 0.005, "mixed_bfloat16": 0.02, "mixed_float16": 0.02}, clock)
    assert precision.choose(may_measure=True, make_step=fast) == candidate
    assert precision.choose(may_measure=True, make_step=slow) == "float32"
    assert precision.choose(may_measure=False, make_step=slow) == candidate


def test_quantization_is_trained_in_float32_also_where_mixed_precision_is_faster(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "faster", lambda first, second, make_step: second)
    for quantization, chosen in ((None, "mixed_bfloat16"), ("int8", "float32")):
        settings = config.Experiment(training=config.Training(quantization=quantization))
        plan = training.Plan.of(settings)
        assert precision.select_policy(plan, QUIET, Interruption()) == chosen


def test_a_device_is_timed_with_its_share_of_a_batch(monkeypatch):
    sizes = []
    step = SimpleNamespace(train=lambda batch, **_: sizes.append(len(batch["image"])) or tf.zeros(1))
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "faster", lambda first, second, make_step: make_step()() or first)
    monkeypatch.setattr(training.Plan, "build_network", lambda plan: SimpleNamespace(size=(8, 8)))
    monkeypatch.setattr(training.Plan, "build_optimizer", lambda plan, network: None)
    monkeypatch.setattr(training.Plan, "build_step", lambda plan, *_: sizes.append(plan.training.batch_size) or step)
    plan = training.Plan.of(config.Experiment(training=config.Training(batch_size=32)))
    precision.select_policy(plan, QUIET, Interruption(), replicas=8)
    assert sizes == [4, 4]


def test_what_is_trained_on_stored_features_is_timed_without_the_frozen_part(monkeypatch):
    timed = []

    def train(self, batch, **_):
        timed.append((self.reads_images, *batch["image"].shape))
        return tf.zeros(1)

    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "faster", lambda first, second, make_step: make_step()() or first)
    monkeypatch.setattr(Step, "train", train)
    settings = config.Experiment(
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
        data=config.Data(channels=1),
        optimizer=config.Optimizer(frozen=("stem*", "stage*")),
        training=config.Training(batch_size=32, feature_variants=1),
    )
    plan = training.Plan.of(settings)
    precision.select_policy(plan, QUIET, Interruption())
    assert timed == [(False, 32, plan.build_network().get_layer(CLASSIFIER).input.shape[-1])]


def test_heads_on_stored_features_are_trained_in_float32(monkeypatch, capsys):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    for given, chosen in (("auto", "float32"), ("mixed_bfloat16", "mixed_bfloat16")):
        settings = config.Experiment(
            task=config.RCNNSettings(), training=config.Training(precision=given, batch_size=128)
        )
        assert precision.select_policy(training.Plan.of(settings), training.Reporter(), Interruption()) == chosen
    assert "precision=auto: float32; steps of task.name=rcnn cannot be timed" in capsys.readouterr().out
