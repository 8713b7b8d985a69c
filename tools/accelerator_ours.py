"""Our side of `benchmark_accelerator.py`: networks of `tfeff.models` under JAX, in a process of its own."""

import collections
import gc
import glob
import gzip
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import numpy as np
from accelerator_case import CLASSES, DETECTOR_SIDE, DETECTORS, LEARNING_RATE, STACK_LAYERS, STACKS, Case, Mode, serve
from detector_sides import YOLO
from keras.src.backend.jax import random as keras_random

from tfeff import models
from tfeff.models.cost import complexity
from tfeff.models.layers.normalization import BatchNormalization

POLICIES = {"bfloat16": "mixed_bfloat16", "tf32": "float32"}
FACTS = {
    "convolutions of cuDNN": r"__cudnn\$",
    "products of cuBLAS": r"__cublas\$",
    "products of Triton": r"__triton_(?:nested_)?gemm",
    "custom calls": r"custom-call\(",
    "fusions": r" fusion\(",
    "transposes": r" transpose\(",
    "copies": r" copy\(",
}
"""Patterns that are counted in a compiled program."""


class Ours:
    """JAX."""

    def __init__(self, hlo: Path | None) -> None:
        self._hlo = hlo

    def versions(self) -> str:
        """Returns versions and device."""
        return f"jax {jax.__version__}, keras {keras.__version__}, {jax.devices()[0].device_kind}"

    def release(self) -> None:
        """Frees arrays and compiled programs."""
        keras.utils.clear_session()
        jax.clear_caches()
        gc.collect()

    def prepare(self, case: Case) -> dict[str, Callable[[], Mode]]:
        """Returns one mode: the whole step is one program."""
        return {"ours": lambda: self._mode(case)}

    def _mode(self, case: Case) -> Mode:
        began = time.perf_counter()
        network = build(case)
        state, step = training(network, case) if case.work == "training" else inference(network)
        inputs = on_device(batch_of(network, case))
        traced = time.perf_counter()
        lowered = jax.jit(step, donate_argnums=0).lower(state, *inputs)
        compiling = time.perf_counter()
        compiled = lowered.compile()
        done = time.perf_counter()
        held = [state]  # the program consumes the state and returns the next one

        def run(steps: int) -> Any:
            result = None
            for _ in range(steps):
                held[0], result = compiled(held[0], *inputs)
            jax.block_until_ready((held[0], result))
            return result

        if not all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in jax.tree.leaves(run(1))):
            raise ValueError("results are not finite")
        text = compiled.as_text()
        if self._hlo is not None:
            self._hlo.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "-", case.name)
            with gzip.open(self._hlo / f"{name}.hlo.gz", "wt") as file:
                file.write(text)
        facts = {
            "build_seconds": traced - began,
            "trace_seconds": compiling - traced,
            "compile_seconds": done - compiling,
            "bytes": peak_bytes(compiled),
            "macs": complexity.count(network, regions=getattr(network, "regions", None)).macs,
            "program": {name: len(re.findall(pattern, text)) for name, pattern in FACTS.items()},
            "convolution layouts": layouts(text),
        }
        return Mode(run, facts, lambda steps: profile(lambda: run(steps)))

    def ceiling(self) -> dict[str, float]:
        """Measures FLOP/s of a bfloat16 matrix product."""
        side = 8192 if jax.default_backend() != "cpu" else 256
        a, b = (jax.random.normal(key, (side, side), jnp.bfloat16) for key in jax.random.split(jax.random.key(0)))
        product = jax.jit(jnp.matmul)
        jax.block_until_ready([product(a, b) for _ in range(3)])
        began = time.perf_counter()
        jax.block_until_ready([product(a, b) for _ in range(20)])
        return {"flops": 2 * side**3 * 20 / (time.perf_counter() - began)}


@contextmanager
def quick_initializers() -> Iterator[None]:
    """Initializes weights on the CPU with the distribution's mean and deviation.

    Compiling a program for each shape of a weight would take most of the time.
    """
    rng = np.random.default_rng(0)

    def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
        return jnp.asarray(rng.normal(mean, stddev, shape), dtype or keras.config.floatx())

    with (
        jax.default_device(jax.devices("cpu")[0]),
        mock.patch.object(keras_random, "truncated_normal", normal),
        mock.patch.object(keras_random, "normal", normal),
    ):
        yield


def build(case: Case) -> keras.Model:
    """Returns the network of a case."""
    keras.config.set_dtype_policy(POLICIES[case.precision])
    with quick_initializers():
        if case.stack:
            return stack(case.stack)
        if case.network in DETECTORS:
            options = {"resolution": case.resolution or DETECTOR_SIDE} | (YOLO if case.network == "yolo" else {})
            return models.build_detector(case.network, num_classes=CLASSES[case.network], **options)
        return models.build(case.network, resolution=case.resolution)


def stack(kind: str) -> keras.Model:
    """Applies equal layers to a map, then averages each channel."""
    side, channels = STACKS[kind]
    x = images = keras.Input((side, side, channels))
    x = keras.layers.Rescaling(1 / 255)(x)
    for _ in range(STACK_LAYERS):
        if kind == "normalization":
            x = keras.layers.ReLU()(BatchNormalization()(x))
        elif kind.startswith("depthwise"):
            x = keras.layers.DepthwiseConv2D(int(kind[-1]), padding="same", use_bias=False)(x)
        else:
            size = 3 if kind == "convolution" else 1
            x = keras.layers.Conv2D(channels, size, padding="same", use_bias=False)(x)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D(dtype="float32")(x))


def batch_of(network: keras.Model, case: Case) -> list[np.ndarray]:
    """Returns random bytes, then labels (training) or boxes (two-stage detectors)."""
    rng = np.random.default_rng(0)
    height, width, channels = network.inputs[0].shape[1:]
    arrays = [rng.integers(0, 256, (case.batch, height, width, channels), np.uint8)]
    if case.work == "training":
        arrays.append(rng.integers(0, network.outputs[0].shape[-1], case.batch, np.int32))
    if len(network.inputs) == 2:
        arrays.append(random_boxes(rng, case.batch, network.regions, height, width))
    return arrays


def random_boxes(rng: np.random.Generator, batch: int, count: int, height: int, width: int) -> np.ndarray:
    """Draws boxes_yxyx, float32 (batch, count, 4)."""
    edges = np.sort(rng.uniform(0, 1, (batch, count, 2, 2)), axis=2) * (height, width)
    return edges.reshape(batch, count, 4).astype(np.float32)


def on_device(values: Any) -> Any:
    """Copies arrays to the accelerator."""
    return jax.device_put(jax.tree.map(np.asarray, values), jax.devices()[0])


def training(network: keras.Model, case: Case) -> tuple[Any, Callable[..., Any]]:
    """Returns the state, and (state, images, labels) -> (state, loss)."""
    rate = LEARNING_RATE[case.optimizer]
    with jax.default_device(jax.devices("cpu")[0]):
        optimizer: Any = (
            keras.optimizers.SGD(rate, momentum=0.9) if case.optimizer == "sgd" else keras.optimizers.AdamW(rate)
        )
        optimizer.build(network.trainable_variables)
    groups = network.trainable_variables, network.non_trainable_variables, optimizer.variables
    state = on_device([[variable.value for variable in group] for group in groups])

    def step(state: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        trainable, other, slots = state

        def loss_of(trainable: Any) -> tuple[Any, Any]:
            logits, updated = network.stateless_call(trainable, other, images.astype("float32"), training=True)
            logs = jax.nn.log_softmax(logits.astype("float32"))
            return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], axis=-1)), updated

        (loss, other), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return [trainable, other, slots], loss

    return state, step


def inference(network: keras.Model) -> tuple[Any, Callable[..., Any]]:
    """Returns the state, and (state, images, [boxes]) -> (state, outputs)."""
    groups = network.trainable_variables, network.non_trainable_variables
    state = on_device([[variable.value for variable in group] for group in groups])

    def step(state: Any, images: Any, *boxes: Any) -> tuple[Any, Any]:
        pixels = images.astype("float32")
        outputs, _ = network.stateless_call(*state, [pixels, *boxes] if boxes else pixels, training=False)
        return state, outputs

    return state, step


def peak_bytes(compiled: Any) -> int | None:
    """Returns the device memory of a program: arguments, results and temporary values."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return held + found.temp_size_in_bytes


def layouts(text: str) -> dict[str, int]:
    """Counts convolutions of a compiled program, by type and order of dimensions."""
    found = collections.Counter[str]()
    for line in text.splitlines():
        labels, dtype = re.search(r"dim_labels=(\S+?)[, ]", line), re.search(r"= \(?(\w+)\[", line)
        if labels and dtype:
            grouped = " grouped" if "feature_group_count=" in line else ""
            found[f"{dtype[1]} {labels[1]}{grouped}"] += 1
    return dict(found.most_common())


def profile(run: Callable[[], object]) -> dict[str, float]:
    """Returns seconds by kernel, or by operation if there are no kernels. Numbers in names are dropped."""
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            run()
        (path,) = glob.glob(f"{directory}/**/*.trace.json.gz", recursive=True)
        with gzip.open(path, "rt") as file:
            events = json.load(file)["traceEvents"]
    processes = {each["pid"]: each["args"]["name"] for each in events if each.get("name") == "process_name"}
    threads = {(each["pid"], each["tid"]): each["args"]["name"] for each in events if each.get("name") == "thread_name"}
    seconds: collections.Counter[str] = collections.Counter()
    for each in events:
        if each.get("ph") != "X":
            continue
        if any("/device:GPU" in name for name in processes.values()):
            # The other lines of a device have the same time again, by step, module or operation.
            counts = "Stream" in threads.get((each["pid"], each["tid"]), "")
        else:
            counts = "hlo_op" in each.get("args", {})
        if counts:
            seconds[re.sub(r"[._]?\d+", "", each["name"])[:160]] += each.get("dur", 0) / 1e6
    return dict(seconds)


if __name__ == "__main__":
    hlo = os.environ.get("ACCELERATOR_HLO")
    serve(lambda: Ours(Path(hlo) if hlo else None))
