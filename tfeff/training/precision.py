"""Which arithmetic is fastest here: float32, or mixed precision with float32 variables."""

import statistics
import time
from collections.abc import Callable

import keras
import tensorflow as tf

CALIBRATION_STEPS = 7
"""Timed pairs of steps, one of each kind in turn."""
LEAST_GAIN = 1.05
"""Mixed precision is chosen when three of four pairs of steps say that it is this much faster: a busy machine's noise
must not choose it."""


def choose(requested: str, *, may_measure: bool, make_step: Callable[[], Callable[[], None]]) -> str:
    """The Keras dtype policy for `requested`; `auto` is never slower than float32 on this device.

    On a GPU with bfloat16 units (compute capability 8.0, Ampere) `auto` is mixed_bfloat16, on one with float16 units
    alone (7.0, Volta) mixed_float16. On a CPU it depends on the network (bfloat16 speeds up ResNet-50 and slows down
    EfficientNet on the same processor), so that one training step of each kind is timed.

    Args:
        requested: `auto` or a policy's name, which is taken as it is.
        may_measure: whether a stopwatch may decide; float32 on CPUs where it may not (a deterministic run, or workers
            that could come to different results).
        make_step: builds, under the present dtype policy, a function that runs one training step to its end.
    """
    if requested != "auto":
        return requested
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = min(
            tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus
        )
        return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16" if capability >= (7, 0) else "float32"
    if not may_measure or not _cpu_multiplies_bfloat16():
        return "float32"
    return faster("float32", "mixed_bfloat16", make_step)


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


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the processor says that it has bfloat16 instructions; where it does not say, float32 is safe."""
    try:
        with open("/proc/cpuinfo") as file:
            words = set(next((line for line in file if line.startswith(("flags", "Features"))), "").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
