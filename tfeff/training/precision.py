"""Which arithmetic is fastest here: float32, or mixed precision with float32 variables."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfeff import config
from tfeff.training import build, distribution
from tfeff.training.interruption import Interruption
from tfeff.training.progress import Reporter

CALIBRATION_STEPS = 7
"""Timed pairs of steps, one of each kind in turn."""
LEAST_GAIN = 1.05
"""Mixed precision is chosen when three of four pairs of steps say that it is this much faster: a busy machine's noise
must not choose it."""


def choose(requested: str, *, may_measure: bool, make_step: Callable[[], Callable[[], None]]) -> str:
    """The Keras dtype policy for `requested`; `auto` is never slower than float32 on this device.

    Whether mixed precision pays depends on the network as much as on the device (on one processor bfloat16 speeds up
    ResNet-50 and slows down EfficientNet), so that training steps of both kinds are timed. The candidate is bfloat16
    where the device has units for it (GPUs of compute capability 8.0, Ampere, and CPUs that say so), float16 on GPUs
    from 7.0 (Volta) on.

    Args:
        requested: `auto` or a policy's name, which is taken as it is.
        may_measure: whether a stopwatch may decide. Where it may not (a deterministic run, or workers that could come
            to different results) GPUs take the candidate and CPUs float32.
        make_step: builds, under the present dtype policy, a function that runs one training step to its end.
    """
    if requested != "auto":
        return requested
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        candidate = _gpu_candidate([tf.config.experimental.get_device_details(gpu) for gpu in gpus])
    else:
        candidate = "mixed_bfloat16" if may_measure and _cpu_multiplies_bfloat16() else "float32"
    if candidate == "float32" or not may_measure:
        return candidate
    return faster("float32", candidate, make_step)


def measured(
    settings: config.Experiment, record: dict[str, Any], reporter: Reporter, interruption: Interruption
) -> str:
    """The dtype policy of a run that starts afresh.

    Args:
        settings: the experiment.
        record: the workdir's `dataset.json`.
        reporter: told of each timing.
        interruption: looked at between steps.
    """
    training = settings.training
    strategy = tf.distribute.get_strategy()

    def make_step() -> Any:
        reporter.say(f"precision=auto: timing steps in {keras.mixed_precision.dtype_policy().name}")
        model = build.model(settings, record)
        step = build.step(settings, model, strategy, build.optimizer(settings, model, 1))
        shape = (training.batch_size, model.resolution, model.resolution, settings.data.channels)
        answers = step.task.blank(training.batch_size, len(record["class_names"]))
        batch = {"image": tf.random.uniform(shape, 0, 255), **answers}

        def run() -> None:
            interruption.check("nothing is lost")
            step.train(batch, step=0, learning_rate=0.0).numpy()

        return run

    # Workers that measured each for itself could come to different results.
    may_measure = not training.deterministic and distribution.worker_count() == 1
    return choose(training.precision, may_measure=may_measure, make_step=make_step)


def faster(first: str, second: str, make_step: Callable[[], Callable[[], None]]) -> str:
    """`second` when its steps reliably take less time than `first`'s by the factor LEAST_GAIN, else `first`."""
    before = keras.mixed_precision.dtype_policy()
    steps, seconds = {}, {}
    try:
        for policy in (first, second):
            keras.mixed_precision.set_dtype_policy(policy)
            steps[policy], seconds[policy] = make_step(), list[float]()
            steps[policy]()  # traces
        for _ in range(CALIBRATION_STEPS):
            for policy, step in steps.items():
                start = time.perf_counter()
                step()
                seconds[policy].append(time.perf_counter() - start)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    gains = [slow / fast for slow, fast in zip(seconds[first], seconds[second], strict=True)]
    lower_quartile = statistics.quantiles(gains, n=4)[0]
    return second if lower_quartile >= LEAST_GAIN else first


def _gpu_candidate(details: Sequence[Mapping[str, Any]]) -> str:
    capability = min(gpu.get("compute_capability", (0, 0)) for gpu in details)
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16" if capability >= (7, 0) else "float32"


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the processor says that it has bfloat16 instructions; where it does not say, float32 is safe."""
    try:
        with open("/proc/cpuinfo") as file:
            words = set(next((line for line in file if line.startswith(("flags", "Features"))), "").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
