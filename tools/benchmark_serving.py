"""EfficientNet-B0 as exported models in their runtimes, and that of keras.applications: `python tools/benchmark.py
serving`.

Both networks have the same random weights, so all sides must return the same probabilities. Each side takes and returns
NumPy arrays. All run in one process and take turns.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from paired_rounds import alternate, quartiles

from tfeff import models
from tfeff.errors import UserError
from tfeff.reporting import tables
from tfeff.serving import litert, onnx, openvino, savedmodel
from tfeff.serving.portable import freeze
from tfeff.tasks import ClassificationTask

RESOLUTION, CLASSES = 224, 1000
BATCHES = (16, 1)
TOLERANCE = 1e-4
"""Tolerance of a probability in float32."""
OURS, THEIRS = "tfeff", "keras.applications"
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Side:
    """A network in a runtime.

    Attributes:
        network: whose.
        runtime: name and, if it is not float32, precision.
        settings: what it is given and how it runs, besides the number of threads.
        predict: images [b, height, width, 3], of `dtype`, in [0, 255] -> probabilities [b, classes].
        dtype: dtype of the images.
    """

    network: str
    runtime: str
    settings: str
    predict: Predict
    dtype: type = np.float32


def networks() -> tuple[keras.Model, keras.Model]:
    """Returns our network and that of keras.applications with the same weights. The second returns probabilities."""
    theirs = keras.applications.EfficientNetB0(weights=None, input_shape=(RESOLUTION, RESOLUTION, 3))
    rng = np.random.default_rng(0)
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Activations would otherwise shrink from layer to layer, and all images get the same probabilities.
            layer.momentum = 0.0
            layer.gamma.assign(rng.uniform(0.5, 0.9, layer.gamma.shape))
            layer.beta.assign(rng.uniform(-0.3, 0.3, layer.beta.shape))
    theirs.layers[-1].kernel.assign(rng.normal(0, 1.0, theirs.layers[-1].kernel.shape))
    theirs(images(8).astype(np.float32), training=True)
    ours = models.build("efficientnet-b0", num_classes=CLASSES, resolution=RESOLUTION)
    skipped = models.from_applications(ours, theirs).skipped
    assert not skipped, skipped
    return ours, theirs


def images(count: int) -> np.ndarray:
    """Returns smooth random images, uint8 [count, height, width, 3]."""
    coarse = np.random.default_rng(1).uniform(0, 255, (count, 7, 7, 3))
    return tf.image.resize(coarse, (RESOLUTION, RESOLUTION), "bicubic").numpy().clip(0, 255).astype(np.uint8)


def our_sides(network: keras.Model, directory: Path, threads: int) -> Iterator[Callable[[], Side]]:
    """Yields our sides, each exported as by `tfeff.export`."""
    task, names = ClassificationTask(), [str(label) for label in range(CLASSES)]

    def saved_model(freeze: bool) -> Side:
        out = directory / f"ours-{freeze}"
        size = (RESOLUTION, RESOLUTION)
        savedmodel.export(network, names, out, image_size=None, size=size, channels=3, task=task, freeze=freeze)
        runtime = "SavedModel" if freeze else "SavedModel, --nofreeze"
        return Side(OURS, runtime, "uint8; fits images, names labels", signature(out, "images"), np.uint8)

    def lite() -> Side:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=litert.convert(network, task)[litert.FILE], num_threads=threads)
        run = interpreter.get_signature_runner()

        def predict(batch: np.ndarray) -> np.ndarray:
            return np.concatenate([run(images=image[np.newaxis])["probabilities"] for image in batch])

        return Side(OURS, "LiteRT", "one image a call", predict)

    def onnx_runtime() -> Side:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        model = onnx.convert(network, task)[onnx.FILE]
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        return Side(OURS, "ONNX Runtime", "default", lambda batch: session.run(None, {"images": batch})[0])

    def intermediate_representation() -> Path:
        for name, contents in openvino.convert(network, task).items():
            (directory / name).write_bytes(contents)
        return directory / openvino.FILE

    yield lambda: saved_model(False)
    yield lambda: saved_model(True)
    yield lite
    yield onnx_runtime
    yield lambda: with_openvino(OURS, intermediate_representation(), "f32", threads)
    yield lambda: with_openvino(OURS, directory / openvino.FILE, "bf16", threads)


def their_sides(network: keras.Model, directory: Path, threads: int) -> Iterator[Callable[[], Side]]:
    """Yields the other sides, each exported by Keras, or frozen."""

    def saved_model() -> Side:
        network.export(directory / "theirs", verbose=False)
        return Side(THEIRS, "SavedModel", "Model.export; float32", signature(directory / "theirs", None))

    specification = tf.TensorSpec((None, RESOLUTION, RESOLUTION, 3), tf.float32)
    function = tf.function(lambda batch: network(batch, training=False), input_signature=[specification])

    def graph() -> Side:
        constant = freeze(function)
        return Side(THEIRS, "frozen graph", "float32", lambda batch: constant(tf.constant(batch))[0].numpy())

    def graph_in_openvino(precision: str) -> Side:
        file = directory / "theirs.pb"
        file.write_bytes(freeze(function).graph.as_graph_def().SerializeToString())
        return with_openvino(THEIRS, file, precision, threads)

    def exported_to_openvino() -> Side:
        file = directory / "theirs.xml"
        network.export(str(file), format="openvino", verbose=False)
        return with_openvino(THEIRS, file, "f32", threads, settings="Model.export")

    yield saved_model
    yield graph
    yield lambda: graph_in_openvino("f32")
    yield lambda: graph_in_openvino("bf16")
    yield exported_to_openvino


def signature(directory: Path, name: str | None) -> Predict:
    """Returns the signature `serving_default` of a SavedModel, by the name of its input; None: the only one."""
    model = tf.saved_model.load(str(directory))
    serve = model.signatures["serving_default"]
    name = name or next(iter(serve.structured_input_signature[1]))

    def predict(batch: np.ndarray, keep: object = model) -> np.ndarray:
        outputs = serve(**{name: tf.constant(batch)})
        return (outputs["probabilities"] if len(outputs) > 1 else next(iter(outputs.values()))).numpy()

    return predict


def with_openvino(network: str, file: Path, precision: str, threads: int, settings: str = "frozen graph") -> Side:
    """Returns a model in OpenVINO, computing in "f32" or "bf16"."""
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = openvino.core().compile_model(file, "CPU", properties)
    name = {"f32": "OpenVINO", "bf16": "OpenVINO, bfloat16"}[precision]
    return Side(network, name, f"{settings}; PERFORMANCE_HINT=LATENCY", lambda batch: compiled(batch)[0].copy())


def available(sides: Iterator[Callable[[], Side]]) -> Iterator[Side]:
    """Yields the sides whose packages are installed; the others are named."""
    for build in sides:
        try:
            yield build()
        except (ImportError, UserError) as error:
            print(f"skipped: {error}", file=sys.stderr)


def largest_differences(sides: Sequence[Side], batch: np.ndarray) -> list[float]:
    """Returns the largest difference of a probability from the first side's.

    Raises:
        UserError: it is larger than the tolerance, in float32.
    """
    expected = sides[0].predict(batch.astype(sides[0].dtype))
    differences = [float(np.abs(side.predict(batch.astype(side.dtype)) - expected).max()) for side in sides]
    for side, difference in zip(sides, differences, strict=True):
        if difference > TOLERANCE and "bfloat16" not in side.runtime:
            raise UserError(f"{side.network}, {side.runtime}: a probability differs by {difference:.1e}")
    return differences


def seconds(sides: Sequence[Side], batch: np.ndarray, rounds: int) -> dict[int, Mapping[int, list[float]]]:
    """Measures the seconds of a whole batch in every round, for each batch size and side (by its index)."""

    def predict(side: Side, size: int) -> Callable[[], None]:
        given = batch.astype(side.dtype)

        def run() -> None:
            for start in range(0, len(given), size):
                side.predict(given[start : start + size])

        return run

    turns = {(size, index): predict(side, size) for size in BATCHES for index, side in enumerate(sides)}
    found = alternate(turns, rounds=rounds)
    return {size: {index: found[size, index] for index in range(len(sides))} for size in BATCHES}


def rows(
    sides: Sequence[Side], differences: Sequence[float], times: Mapping[int, Mapping[int, Sequence[float]]], count: int
) -> list[dict[str, object]]:
    """Returns rows of the table: images/s of each side, and their ratios to the SavedModel of keras.applications."""
    peer = next((index for index, side in enumerate(sides) if side.network == THEIRS), None)
    table: list[dict[str, object]] = []
    for index, (side, difference) in enumerate(zip(sides, differences, strict=True)):
        row: dict[str, object] = {"network": side.network, "runtime": side.runtime, "settings": side.settings}
        for size in BATCHES:
            low, middle, high = quartiles([count / each for each in times[size][index]])
            row |= {f"batch {size}, images/s": f"{middle:.1f}", f"quartiles, {size}": f"{low:.1f} to {high:.1f}"}
        if peer is not None:
            for size in BATCHES:
                pairs = zip(times[size][index], times[size][peer], strict=True)
                low, middle, high = quartiles([other / own for own, other in pairs])
                row |= {f"ratio, {size}": f"{middle:.2f}", f"quartiles of ratio, {size}": f"{low:.2f} to {high:.2f}"}
        table.append(row | {"largest difference": f"{difference:.0e}"})
    return table


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--rounds", type=int, default=30, help="Timed rounds per side and batch size.")
    parser.add_argument("--threads", type=int, default=2, help="Threads of every side.")


def run(arguments: argparse.Namespace) -> None:
    """Compares EfficientNet-B0 in all runtimes, batches of 16 and single images, to keras.applications."""
    if arguments.rounds < 2 or arguments.threads < 1:
        raise UserError("--rounds must be at least 2, --threads at least 1")
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    batch = images(max(BATCHES))
    ours, theirs = networks()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sides = [
            *available(our_sides(ours, directory, arguments.threads)),
            *available(their_sides(theirs, directory, arguments.threads)),
        ]
        differences = largest_differences(sides, batch)
        times = seconds(sides, batch, arguments.rounds)
    print(tables.markdown(rows(sides, differences, times, len(batch))))
