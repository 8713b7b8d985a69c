"""Choice of the faster dtype policy: float32, or mixed precision with float32 variables."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfeff.execution import workers
from tfeff.models.network import in_policy
from tfeff.training.features import split
from tfeff.training.interruption import Interruption
from tfeff.training.plan import Plan
from tfeff.training.progress import Reporter

CALIBRATION_STEPS = 7
"""Number of timed pairs of steps, one per policy in turn."""
MIN_SPEEDUP = 1.05
"""Mixed precision is chosen if it is this much faster in three of four pairs of steps, so that noise on a busy machine
does not decide."""


def choose(*, may_measure: bool, make_step: Callable[[], Callable[[], None]]) -> str:
    """Chooses the Keras dtype policy: mixed precision where it is faster.

    The speedup of mixed precision depends on the network as well as on the device (on the same processor, bfloat16
    speeds up ResNet-50 and slows down EfficientNet), so training steps under both policies are timed. The candidate is
    bfloat16 if the device supports it (GPUs from compute capability 8.0, Ampere, and CPUs with bfloat16 instructions),
    else float16 on GPUs from 7.0 (Volta).

    Args:
        may_measure: whether timing may decide. If not (deterministic runs; several workers, whose results could
            differ), GPUs use the candidate and CPUs float32.
        make_step: builds a function that runs one training step under the current dtype policy and waits for it.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        candidate = _gpu_candidate([tf.config.experimental.get_device_details(gpu) for gpu in gpus])
    else:
        candidate = "mixed_bfloat16" if may_measure and _cpu_has_bfloat16() else "float32"
    if candidate == "float32" or not may_measure:
        return candidate
    return faster("float32", candidate, make_step)


def select_policy(plan: Plan, reporter: Reporter, interruption: Interruption, replicas: int = 1) -> str:
    """Chooses the dtype policy of a new run, unless it is set. `training.quantization` computes in float32.

    Args:
        plan: the run's plan, completed from the training images.
        reporter: reports the timing.
        interruption: checked between steps.
        replicas: number of devices that share a batch. One of them is timed, with its share.
    """
    training = plan.training
    if training.quantization is not None:
        return "float32"
    if plan.precision != "auto":
        return plan.precision
    if plan.task.stored is not None:
        reporter.say(f"precision=auto: float32; steps of task.name={plan.settings.task.name} cannot be timed")
        return "float32"
    size = training.batch_size // replicas
    share = dataclasses.replace(training, batch_size=size)
    plan = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, training=share))

    def make_step() -> Any:
        reporter.say(f"precision=auto: timing steps in {keras.mixed_precision.dtype_policy().name}")
        model = plan.build_network()
        optimizer, rest = plan.build_optimizer(model), None
        shape = *model.size, plan.images.data.channels
        if training.feature_variants is not None and (parts := split(model)):
            _, rest = parts
            shape = rest.input.shape[1:]
        step = plan.build_step(model, optimizer, None, None, rest)
        targets = plan.task.dummy_targets(size, plan.num_classes)
        batch = {"image": tf.random.uniform((size, *shape), 0, 255), **targets}

        def run() -> None:
            interruption.check("nothing is lost")
            step.train(batch, step=0, learning_rate=0.0).numpy()

        return run

    # Each worker would time on its own and might choose another policy.
    may_measure = not training.deterministic and workers.worker_count() == 1
    return choose(may_measure=may_measure, make_step=make_step)


def faster(first: str, second: str, make_step: Callable[[], Callable[[], None]]) -> str:
    """Returns policy `second` if its steps are reliably faster than those of `first` by MIN_SPEEDUP, else `first`."""
    steps, seconds = {}, {}
    for policy in (first, second):
        with in_policy(policy):
            steps[policy], seconds[policy] = make_step(), list[float]()
            steps[policy]()  # traces
    for _ in range(CALIBRATION_STEPS):
        for policy, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[policy].append(time.perf_counter() - start)
    speedups = [slow / fast for slow, fast in zip(seconds[first], seconds[second], strict=True)]
    lower_quartile = statistics.quantiles(speedups, n=4)[0]
    return second if lower_quartile >= MIN_SPEEDUP else first


def _gpu_candidate(details: Sequence[Mapping[str, Any]]) -> str:
    capability = min(gpu.get("compute_capability", (0, 0)) for gpu in details)
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16" if capability >= (7, 0) else "float32"


def _cpu_has_bfloat16() -> bool:
    """Returns whether /proc/cpuinfo lists bfloat16 instructions."""
    try:
        with open("/proc/cpuinfo") as file:
            words = set(next((line for line in file if line.startswith(("flags", "Features"))), "").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
