"""Timing of exported models in their runtimes: TensorFlow, LiteRT, ONNX Runtime, OpenVINO.

A time is that of one call of a loaded model with one image. It includes the decoding of the predictions, which is part
of the model, but not the decoding of files. The image is random, and always the same. A model that takes images of any
size gets one of the size to which it fits them first (`image_size` in its metadata): of the fitting, a SavedModel then
only does the second step, to the size of the network's input, if that differs; in other formats, the time includes all
of it (`Timing.fits`). ONNX Runtime, LiteRT and OpenVINO compute on the CPU and in the precision of the export.

Models of `export_untrained` have random weights. Their time is that of trained ones, except for the suppression of
detections: it has more to do the more objects are found.
"""

import dataclasses
import gc
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import checked, config
from tfeff.config.budget import check_precision
from tfeff.config.tasks import TaskSettings, of_detector
from tfeff.errors import UserError
from tfeff.execution import resources
from tfeff.models.network import in_policy
from tfeff.networks import Architecture, Detector
from tfeff.serving import exported, openvino
from tfeff.serving.detector import CHECKSUMS, load
from tfeff.serving.exportable import FORMATS, Exportable
from tfeff.serving.exported import SAVED_MODEL
from tfeff.serving.interface import METADATA
from tfeff.serving.portable import Loaded
from tfeff.training.latency import ROUNDS, alternate
from tfeff.training.plan import Plan

CALIBRATION_IMAGES = 4
"""Random images for the ranges of 8-bit models: the time does not depend on the ranges."""
SCORE = 0.5
DISTURBED = 1.5


@dataclass(frozen=True)
class Timing:
    """Times of one call of an exported model with one image.

    Attributes:
        rounds: seconds of each call.
        processor: seconds that the processor spent on each call; empty with several threads, or on a GPU.
        size: bytes of the model's files, without metadata.
        format: `saved_model`, `litert`, `onnx` or `openvino`.
        precision: in which the model computes, `float32`, `bfloat16` or `int8`.
        threads: number of the runtime's threads; None: all cores that the process may use.
        runtime: name and version of the package that ran it.
        fits: whether the model takes images of any size and fits them itself.
    """

    rounds: tuple[float, ...]
    processor: tuple[float, ...]
    size: int
    format: str
    precision: str
    threads: int | None
    runtime: str
    fits: bool = False

    @property
    def seconds(self) -> float:
        """The median."""
        return float(np.median(self.rounds))

    @property
    def undisturbed(self) -> float:
        """Seconds on a machine without other load, for fits.

        With one thread, this is the median of `processor`; with more, the fastest call.
        """
        return float(np.median(self.processor)) if self.processor else min(self.rounds)

    @property
    def is_disturbed(self) -> bool:
        """Whether other load slowed the median call, to more than `DISTURBED` times `undisturbed`."""
        return self.seconds > DISTURBED * self.undisturbed

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third, in seconds."""
        low, high = np.percentile(self.rounds, [25, 75])
        return float(low), float(high)


def time_exported(path: str | os.PathLike[str], *, threads: int | None = None, rounds: int = ROUNDS) -> Timing:
    """Times an exported model; see `time_alternately`."""
    return time_alternately([path], threads=threads, rounds=rounds)[0]


def time_alternately(
    paths: Sequence[str | os.PathLike[str]], *, threads: int | None = None, rounds: int = ROUNDS
) -> list[Timing]:
    """Times exported models in turn, so that other load on the machine slows all of them.

    Args:
        paths: folders or files of `tfeff.export`, of any formats.
        threads: number of the runtime's threads; None: all cores that the process may use. TensorFlow's number
            can only be set before it starts, so SavedModels need a new process for another number.
        rounds: timed calls of each model, after a warm-up. The i-th calls of all models are neighbors in time.

    Raises:
        UserError: there is no exported model, it is damaged, its runtime is missing, it needs region proposals, this
            CPU cannot compute in its precision, or TensorFlow has started with another number of threads.
    """
    number = _number(threads)
    if rounds < 1:
        raise UserError(f"rounds={rounds}: give 1 or more")
    located = [exported.located(Path(path)) for path in paths]
    if any(format == SAVED_MODEL for format, _ in located):
        set_tensorflow_threads(threads)
    precisions = [exported.precision_of(path) for _, path in located]
    models = [
        _load_saved_model(path) if format == SAVED_MODEL else exported.load(format, path, number)
        for format, path in located
    ]
    if "bfloat16" in precisions and not openvino.has_bfloat16():
        raise UserError(
            "precision=bfloat16: OpenVINO computes in float32 on this CPU; choose float32, or a CPU with AVX-512 BF16 "
            "or AMX"
        )
    calls = [_call(model, path) for model, (_, path) in zip(models, located, strict=True)]
    seconds, processor = (each.T.tolist() for each in alternate(calls, rounds))
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    return [
        Timing(
            rounds=tuple(seconds[index]),
            processor=tuple(processor[index]) if number == 1 and not (on_gpu and format == SAVED_MODEL) else (),
            size=bytes_of(path),
            format=format,
            precision=precisions[index],
            threads=threads,
            runtime=models[index].runtime,
            fits=_fits(models[index]),
        )
        for index, (format, path) in enumerate(located)
    ]


def bytes_of(path: Path) -> int:
    """Returns the bytes of the files of an exported model, a folder or a file, without its metadata."""
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file() and file.name not in (METADATA, CHECKSUMS)]
    else:
        files = [path, *filter(Path.is_file, [path.with_suffix(".bin")] if path.suffix == ".xml" else [])]
    return sum(file.stat().st_size for file in files)


def export_and_time(description: Architecture | Detector, *, num_classes: int, **options: Any) -> Timing:
    """Exports a network with random weights and times it; see `time_networks`.

    Takes and returns what can be pickled, so that it can run in another process.
    """
    return time_networks([(description, num_classes)], **options)[0]


def time_networks(
    networks: Sequence[tuple[Architecture | Detector, int]],
    *,
    channels: int = 3,
    format: str = SAVED_MODEL,
    precision: str = "float32",
    threads: int | None = None,
    task: TaskSettings | None = None,
    rounds: int = ROUNDS,
) -> list[Timing]:
    """Exports networks with random weights and times them in turn.

    Args:
        networks: description and number of classes of each.

    Other arguments, and errors, as for `export_untrained` and `time_alternately`. Keras' global state is cleared.
    """
    _number(threads)  # checks it
    if format == SAVED_MODEL:
        set_tensorflow_threads(threads)  # before networks are built, which starts TensorFlow
    keras.backend.clear_session()
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            export_untrained(
                description,
                Path(folder) / str(index),
                num_classes=classes,
                channels=channels,
                format=format,
                precision=precision,
                task=task,
            )
            for index, (description, classes) in enumerate(networks)
        ]
        timings = time_alternately(paths, threads=threads, rounds=rounds)
    keras.backend.clear_session()
    gc.collect()
    return timings


def export_untrained(
    description: Architecture | Detector,
    path: Path,
    *,
    num_classes: int,
    channels: int = 3,
    format: str = SAVED_MODEL,
    precision: str = "float32",
    task: TaskSettings | None = None,
) -> Path:
    """Exports a network with random weights as `tfeff.export --nofit` exports that of a run.

    SavedModels fit images in any case.

    Args:
        description: the network's description, with its resolution.
        path: folder to create.
        num_classes: number of classes.
        channels: channels of an image, 1 or 3.
        format: `saved_model`, `litert`, `onnx` or `openvino`.
        precision: see `Exportable.portable`; `int8` is calibrated on random images.
        task: decodes the predictions; None: classification, or the detector's task with its defaults.

    Raises:
        UserError: an impossible network, one whose input includes region proposals, a format that cannot express it, or
            a converter that is not installed.
    """
    if format not in (SAVED_MODEL, *FORMATS):
        raise UserError(f"--format={format}: give one of {', '.join((SAVED_MODEL, *FORMATS))}")
    check_precision(precision, format)
    with in_policy("float32"):
        plan = _plan(description, task, num_classes=num_classes, channels=channels)
        if plan.task.proposals is not None or plan.settings.task.CUTS_REGIONS:
            raise UserError(
                f"{description.name}: its predictions take region proposals as input, which are not timed; name other "
                "networks, such as --model=faster-rcnn"
            )
        network = plan.build_network()
        _vary(network)
        size = network.size
        images = np.random.default_rng(0).uniform(0, 255, (CALIBRATION_IMAGES, 1, *size, channels)).astype(np.float32)
        made = Exportable(
            plan.task,
            network,
            plan.class_names,
            image_size=None if plan.task.reading.fit != "whole" else size,
            channels=channels,
            score=SCORE if plan.task.kind.detects else None,
            examples=lambda: ({"images": each} for each in images),
        )
        if format == SAVED_MODEL:
            return made.saved_model(path)
        return made.portable(path, format, fit=False, precision=precision)


def tensorflow_threads() -> int:
    """Returns the number of threads with which TensorFlow computes in this process."""
    variable = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    given = int(variable) if variable.isdigit() else 0
    return tf.config.threading.get_intra_op_parallelism_threads() or given or _number(None)


def set_tensorflow_threads(threads: int | None) -> None:
    """Lets TensorFlow compute with a number of threads; None: all cores that the process may use.

    Raises:
        UserError: it has started with another number.
    """
    wanted, found, threading = _number(threads), tensorflow_threads(), tf.config.threading
    if found == wanted:
        return
    try:
        threading.set_intra_op_parallelism_threads(wanted)
        threading.set_inter_op_parallelism_threads(wanted)
    except RuntimeError:
        raise UserError(
            f"TensorFlow has started with {found} threads and cannot change to {wanted}; time SavedModels in a new "
            f"process, such as python -m tfeff.summary --latency --threads={wanted}, or set TF_NUM_INTRAOP_THREADS="
            f"{wanted} before"
        ) from None


def _number(threads: int | None) -> int:
    """Raises UserError: less than one."""
    if threads is not None and threads < 1:
        raise UserError(f"--threads={threads}: give 1 or more")
    return resources.cores() if threads is None else threads


def _fits(model: Loaded) -> bool:
    return None in model.inputs["images"][1:]


def _load_saved_model(path: Path) -> Loaded:
    """Returns the signature for pixels."""
    model = load(path)
    signature = model.signatures["serving_default"]
    inputs = {name: tuple(each.shape) for name, each in signature.structured_input_signature[1].items()}

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = signature(images=tf.constant(given["images"]))
        return {name: np.asarray(values) for name, values in outputs.items()}

    run.model = model  # type: ignore[attr-defined] # whose variables must outlive this function
    return Loaded(inputs, list(signature.structured_outputs), run, f"tensorflow {tf.__version__}")


def _call(model: Loaded, path: Path) -> Callable[[], object]:
    """Returns a call with a random image.

    Raises:
        UserError: the model takes more than images, or images of no certain size.
    """
    if further := sorted(model.inputs.keys() - {"images"}):
        raise UserError(f"{path}: takes {', '.join(further)} besides images; region proposals are not timed")
    shape: tuple[Any, ...] = model.inputs["images"][1:]
    if _fits(model):
        about = checked.read_json(
            exported.metadata_of(path), "export the model again", {"image_size": (list, type(None))}
        )
        if about["image_size"] is None:
            raise UserError(
                f"{path}: takes images of any size, so it has no time of its own; export one that takes images "
                "that fit, with --nofit, in another format than saved_model"
            )
        shape = (*about["image_size"], shape[-1])
    image = np.random.default_rng(0).uniform(0, 255, (1, *shape)).astype(np.float32)
    given = {"images": image.astype(np.uint8) if _fits(model) else image}
    return lambda: model.run(given)


def _plan(description: Architecture | Detector, task: TaskSettings | None, *, num_classes: int, channels: int) -> Plan:
    """Returns the plan of a run that trains a network."""
    if task is None:
        task = of_detector(description) if isinstance(description, Detector) else config.ClassificationSettings()
    settings = config.Experiment(
        model=dataclasses.replace(description.backbone, weights=None),
        task=dataclasses.replace(task.with_network(description), plain_epochs=0),  # nothing is trained
        data=config.Data(channels=channels),
    )
    names = [str(index) for index in range(num_classes)]
    return Plan.of(settings).learned({"mean": [], "std": [], "class_names": names})


def _vary(network: keras.Model) -> None:
    """Makes biases and the statistics of normalization differ, because converters omit what adds zeros."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if len(weight.shape) == 1:
            weight.assign_add(rng.uniform(0.1, 0.5, weight.shape))
