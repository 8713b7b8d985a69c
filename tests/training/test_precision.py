import keras
import pytest
import tensorflow as tf

from tfeff import config, training
from tfeff.training import precision
from tfeff.training.interruption import Interruption


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


def test_a_named_policy_is_not_timed():
    def make_step():
        raise AssertionError("nothing is to be measured")

    assert precision.choose("mixed_float16", may_measure=True, make_step=make_step) == "mixed_float16"
    assert precision.choose("auto", may_measure=False, make_step=make_step) == "float32"


@pytest.mark.parametrize(
    ("capability", "candidate"), [((9, 0), "mixed_bfloat16"), ((7, 5), "mixed_float16"), ((6, 1), "float32")]
)
def test_gpu_candidates_by_compute_capability(monkeypatch, capability, candidate, clock):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    fast = steps_of({"float32": 0.02, "mixed_bfloat16": 0.005, "mixed_float16": 0.005}, clock)
    slow = steps_of({"float32": 0.005, "mixed_bfloat16": 0.02, "mixed_float16": 0.02}, clock)
    assert precision.choose("auto", may_measure=True, make_step=fast) == candidate
    assert precision.choose("auto", may_measure=True, make_step=slow) == "float32"
    assert precision.choose("auto", may_measure=False, make_step=slow) == candidate


def test_quantization_is_trained_in_float32_also_where_mixed_precision_is_faster(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "faster", lambda first, second, make_step: second)
    for quantization, chosen in ((None, "mixed_bfloat16"), ("int8", "float32")):
        settings = config.Experiment(training=config.Training(quantization=quantization))
        plan = training.Plan.of(settings)
        assert precision.select_policy(plan, training.Reporter(quiet=True), Interruption()) == chosen
