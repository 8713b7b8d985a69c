"""What the sides of a comparison share; each runs in a process of its own (`paired_processes.py`).

A side's framework is imported when the side is built, so an environment needs only those of its own sides.
"""

import argparse
import copy
import importlib.metadata
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[[], object]
"""Predicts a batch of images, or trains with it, and waits for the result."""
Side = Callable[[], Step]
"""Builds a side."""
WARM_UP_STEPS, TRIAL_STEPS = 3, 7
"""Steps of a way to run a PyTorch model: untimed, and timed to choose the fastest."""
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
PACKAGES = (
    "tensorflow",
    "keras",
    "tf_keras",
    "ai-edge-litert",
    "onnxruntime",
    "openvino",
    "torch",
    "effdet",
    "timm",
    "ultralytics",
    "torchvision",
)


def serve(sides: Mapping[str, Side], about: str | None) -> None:
    """Runs a side as a program: `SIDE [--steps=N]`.

    Prints "ready" and versions when it is warm; then, for each line of its input, runs one round and prints its seconds
    and its CPU seconds.

    Args:
        sides: all sides, by name.
        about: description of the program.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=sides)
    parser.add_argument("--steps", type=int, default=3, help="Steps per round.")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    step = sides[arguments.side]()
    for _ in range(WARM_UP_STEPS):
        step()
    loaded = [name for name in PACKAGES if name.replace("-", "_") in sys.modules]
    print("ready", *(f"{name} {importlib.metadata.version(name)}" for name in loaded), file=answers)
    for _ in sys.stdin:
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(arguments.steps):
            step()
        print(time.perf_counter() - start, time.process_time() - cpu_start, file=answers)


def pixels(images: int, height: int, width: int) -> np.ndarray:
    """Returns random pixels, float32 [images, height, width, 3], from 0 to 255."""
    return np.random.default_rng(0).uniform(0, 255, (images, height, width, 3)).astype(np.float32)


def frozen(network: Any, task: Any, images: int = 1) -> Step:
    """Returns a function that runs our network as the graph without variables that SavedModels contain."""
    import tensorflow as tf

    from tfeff.serving import portable
    from tfeff.serving.folding import Folded

    graph = Folded(portable.function(network, task, batch_size=images))
    batch = tf.constant(pixels(images, *network.size))
    return lambda: tf.nest.map_structure(np.asarray, graph(batch))


def constant(function: Any, given: np.ndarray) -> Step:
    """Returns a `tf.function` of a batch without variables."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph, batch = convert_variables_to_constants_v2(function.get_concrete_function()), tf.constant(given)
    return lambda: tf.nest.map_structure(np.asarray, graph(batch))


def litert(network: Any, task: Any, images: int = 1) -> Step:
    """Returns a function that runs our network in LiteRT, whose models take one image a call."""
    from ai_edge_litert.interpreter import Interpreter

    from tfeff.serving import litert

    model, batch = litert.convert(network, task)[litert.FILE], pixels(images, *network.size)
    run = Interpreter(model_content=model, num_threads=THREADS).get_signature_runner()
    return lambda: [run(images=batch[number : number + 1]) for number in range(images)]


def onnx(network: Any, task: Any, images: int = 1) -> Step:
    """Returns a function that runs our network in ONNX Runtime."""
    import onnxruntime

    from tfeff.serving import onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    model = onnx.convert(network, task)[onnx.FILE]
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: pixels(images, *network.size)}
    return lambda: session.run(None, feed)


def openvino(network: Any, task: Any, images: int = 1, precision: str = "f32") -> Step:
    """Returns a function that runs our network in OpenVINO."""
    from tfeff.serving import openvino

    with tempfile.TemporaryDirectory() as directory:
        for name, contents in openvino.convert(network, task).items():
            Path(directory, name).write_bytes(contents)
        return in_openvino(Path(directory, openvino.FILE), pixels(images, *network.size), precision)


def in_openvino(model: Any, batch: np.ndarray, precision: str = "f32") -> Step:
    """Returns a model, or its file, in OpenVINO, computing in "f32" or "bf16"."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": THREADS,
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return lambda: compiled(batch)


RUNTIMES = (frozen, litert, onnx, openvino)


def ours(build: Callable[[], tuple[Any, Any]], runtime: Callable[..., Step], **settings: Any) -> Step:
    """Returns our network in a runtime: the model that `tfeff.export` writes for it.

    Biases, and the parameters and statistics of batch normalization, are random: exports leave out additions of zeros.
    """
    network, task = build()
    random = np.random.default_rng(0)
    for weight in network.weights:
        name = weight.path.rpartition("/")[2]
        if name in ("beta", "bias", "moving_mean"):
            weight.assign(random.normal(0.0, 0.1, weight.shape))
        elif name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.7, 1.3, weight.shape))
    return runtime(network, task, **settings)


def inference(model: Any, images: Any, torch: Any) -> Step:
    """Calls a PyTorch model in inference mode, in the fastest of four ways: two memory formats, compiled or not.

    The compiler takes weights for constants: it folds batch normalization and arranges kernels for the processor.
    """
    import torch._inductor.config

    torch._inductor.config.freezing = True

    def placed(memory_format: Any, *, compiled: bool) -> Step:
        inputs = images.contiguous(memory_format=memory_format)
        called = copy.deepcopy(model).to(memory_format=memory_format)
        called = torch.compile(called) if compiled else called

        def step() -> object:
            with torch.inference_mode():
                return called(inputs)

        return step

    return fastest_way(placed, torch)


def fastest_way(build: Callable[..., Step], torch: Any) -> Step:
    """Returns the fastest of a PyTorch side's steps in two memory formats, compiled or not.

    Args:
        build: makes the step of a memory format; `compiled` says whether by `torch.compile`.
        torch: the module.
    """

    def built(memory_format: Any, *, compiled: bool) -> Step:
        # Otherwise the compiler takes strides that differ from those of an earlier way for dynamic ones.
        torch._dynamo.reset()
        torch.manual_seed(0)
        step = build(memory_format, compiled=compiled)
        for _ in range(WARM_UP_STEPS):
            step()
        return step

    seconds = {}
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for compiled in (False, True):
            step, times = built(memory_format, compiled=compiled), []
            for _ in range(TRIAL_STEPS):
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
            seconds[memory_format, compiled] = statistics.median(times)
            name = f"{memory_format}, {'compiled' if compiled else 'eager'}"
            print(f"{name}: {seconds[memory_format, compiled]:.4f} s", file=sys.stderr)
    memory_format, compiled = min(seconds, key=seconds.__getitem__)
    return built(memory_format, compiled=compiled)
