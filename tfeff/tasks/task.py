"""The interface of a task: forward pass, losses and metrics; and, for tasks on images, decoding and evaluation.

The training loop uses only `Task`, the evaluation of a run only `ImageTask`.
"""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfeff import models
from tfeff.config import tasks as sections
from tfeff.config.proposals import SharedProposals
from tfeff.data.dataset import Dataset
from tfeff.data.input.batches import Batches
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform

Batch = Mapping[str, tf.Tensor]
"""Tensors by name, [b, ...] each. Batches of images: `image` float32 [b, h, w, c] in [0, 255]; `label` float32
[b, classes], soft or one-hot; `weight` float32 [b]; further targets by name, such as `box`."""
Description = models.Architecture | models.Detector
"""What a network is built from."""
Predictions = Mapping[str, np.ndarray]
"""Decoded predictions of n images by name, [n, ...] each; and what the batches say about the images, `image_size` and
`window_yxyx`, if they say it."""
ABOUT_IMAGES = ("image_size", "window_yxyx")
PROPOSED, PROPOSED_VALID = "extra_boxes_yxyx", "extra_valid"
INPUTS = ("image", PROPOSED, PROPOSED_VALID)
"""What networks read of a batch, if it has it: images, and proposals (see `ImageTask.proposals`)."""
IMAGES = "images"
"""The count of most losses and metrics: the sum of the batch's weights."""


class Task(ABC):
    """What a network is trained for.

    Losses and metrics are means over the whole batch, which several devices share and gradient accumulation splits.
    They are therefore computed as a *total* and a *count* of each part; the mean is the sum of all totals divided by
    the sum of all counts, or 0 if that is 0. The loss that is minimized is the sum of the means of `losses`.

    Attributes:
        losses: name of each loss -> name of its count. All names end in "loss".
        metrics: name of each metric -> name of its count.
        added: name of a count -> what is added to its sum over the batch, such as 1 for losses that are divided by the
            number of positives plus one.
        scores: names of the validation metrics that need all predictions at once; see `ImageTask.score`.
        tuned: those of them that are settings found by validation, not measures of quality.
    """

    losses: ClassVar[Mapping[str, str]]
    metrics: ClassVar[Mapping[str, str]]
    added: ClassVar[Mapping[str, float]] = {}
    scores: Sequence[str] = ()
    tuned: Sequence[str] = ()

    def forward(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """The network's outputs for a batch."""
        return network(batch["image"], training=training)

    @abstractmethod
    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Total of each loss and metric, and the value of each count: scalars of at least float32.

        Args:
            batch: the targets.
            outputs: of `forward`.
            training: use the training loss, for example with label smoothing; otherwise the validation loss, without.
        """

    @property
    def counts(self) -> tuple[str, ...]:
        """Names of the counts, without repetition."""
        return tuple(dict.fromkeys((*self.losses.values(), *self.metrics.values())))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of everything that `totals` returns: losses, metrics, counts."""
        return (*self.losses, *self.metrics, *self.counts)

    def zero_sums(self) -> np.ndarray:
        """Initial value for accumulating the totals of batches: zeros, float64 [k], in the order of `names`."""
        return np.zeros(len(self.names))

    def means(self, sums: np.ndarray) -> dict[str, float]:
        """`loss`, the sum of all losses; each loss, if there are several; and each metric.

        Args:
            sums: totals and counts in the order of `names`, summed over any number of batches.
        """
        value = dict(zip(self.names, map(float, sums), strict=True))
        means = {
            name: value[name] / value[count] if value[count] else 0.0
            for name, count in (*self.losses.items(), *self.metrics.items())
        }
        return {"loss": sum(means[name] for name in self.losses)} | means


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of a network on a split.

    Attributes:
        report: all results, JSON-serializable.
        figures: figures by name.
    """

    report: dict[str, Any]
    figures: dict[str, Figure]


class ImageTask(Task):
    """A task on images. It defines everything that differs between tasks: the images it reads, the network, the
    augmentation, the predictions and their evaluation.

    Attributes:
        annotations: what it needs to know about images: a label each, or objects with boxes.
        detects: whether its predictions are detections, a varying number per image.
        boxes: names of the boxes among its predictions -> their format.
        fit: how an image is brought to the size of the network's input; see `tfeff.data.images.resizing`.
        section: its part of the config.
    """

    annotations: ClassVar[Literal["labels", "objects"]]
    detects: ClassVar[bool] = False
    boxes: ClassVar[Mapping[str, str]] = {}
    section: sections.Task

    @property
    def fit(self) -> Literal["stretch", "crop", "letterbox", "whole"]:
        """See the class."""
        return "stretch"

    @property
    def center_crop(self) -> float | None:
        """Of whole images, the central square that the network sees: its side, relative to the shorter side."""
        return None

    @property
    def interpolation(self) -> Literal["bilinear", "bicubic"]:
        """How images are resized."""
        return "bilinear"

    @property
    def proposals(self) -> SharedProposals | None:
        """The region proposals that batches hold (`extra_boxes_yxyx` and `extra_valid`, see `BoxTransform`), and that
        the exported model takes as further inputs; None: there are none."""
        return None

    def __init__(self, section: sections.Task) -> None:
        self.section = section

    def dataset(self, split: Dataset) -> Dataset:
        """The images of a split that the task can use.

        Raises:
            UserError: there are none, or too few classes.
        """
        return split

    def measured(self, images: Dataset, description: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What the network takes from the training images, such as anchors.

        Args:
            images: the training images.
            description: of the network, without it.

        Returns:
            further options of `describe`, JSON-serializable; what the user should know, one line each.
        """
        return {}, ()

    def describe(self, name: str, **options: Any) -> Description:
        """The description of the network, from which its cost is estimated.

        Args:
            name: of the backbone.
            **options: `resolution` and other fields of the backbone; None keeps the default.

        Raises:
            UserError: unknown name or option, or a value out of range.
        """
        return models.architecture(name, **options)

    @abstractmethod
    def network(self, name: str, *, num_classes: int, channels: int, **options: Any) -> keras.Model:
        """The randomly initialized network, with a `size`.

        Args:
            name: of the backbone.
            num_classes: number of classes.
            channels: channels of an image.
            **options: as for `describe`.
        """

    @abstractmethod
    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        """What happens to images, and their annotations, on their way to the network; arguments as for
        `ImageTransform`."""

    def check(self, resolution: int) -> None:
        """Checks the section against the network's resolution, in pixels.

        Raises:
            UserError: they do not fit.
        """

    def predictor(self, network: keras.Model) -> keras.Model:
        """The trained network as it is evaluated and exported."""
        return network

    def calibrate(self, network: keras.Model, validated: Mapping[str, float]) -> None:
        """Changes the trained network as validation found it better, if it did.

        Args:
            network: with its final weights.
            validated: as for `evaluate`.
        """

    @abstractmethod
    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Predictions by name, float32 [b, ...], from the network's outputs. Evaluation and export use it."""

    def served(
        self, predictions: dict[str, tf.Tensor], names: tf.Tensor, sizes: tf.Tensor, covered: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The outputs of the exported model.

        Args:
            predictions: of `decode`.
            names: of the classes, string [classes].
            sizes: height and width of the original images, int32 [b, 2].
            covered: height and width that they cover in the network's input, from its top left, int32 [b, 2].
        """
        label = tf.gather(names, tf.argmax(predictions["probabilities"], axis=-1))
        return predictions | {"label": label}

    def logits(self, network: keras.Model) -> keras.layers.Layer | None:
        """The layer that outputs one logit per class, [b, classes]; None if there is no such layer."""
        return network.layers[-1]

    @abstractmethod
    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """Dummy targets for benchmarking: a batch without its images."""

    def constant_loss(self, targets: Mapping[str, np.ndarray]) -> float:
        """The training loss of the best prediction that is the same for all images; infinity if it is unknown.

        Args:
            targets: of n images by name, [n, ...] each.
        """
        return math.inf

    def score(self, predictions: Predictions, pipeline: Batches) -> dict[str, float]:
        """The validation metrics of `scores`.

        Args:
            predictions: for all images of the pipeline, in order.
            pipeline: the validation images.
        """
        return {}

    def threshold(self, validated: Mapping[str, float]) -> float | None:
        """Of a detector, the minimum score of the detections to show; else None.

        Args:
            validated: as for `evaluate`.
        """
        return None

    @abstractmethod
    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        """Evaluates the predictions for all images of a pipeline.

        Args:
            predictions: for all images of the pipeline, in order.
            pipeline: the images.
            validated: the metrics of `scores` on the run's validation images, if it has any.

        Raises:
            UserError: if an output of the network is not finite.
        """

    @abstractmethod
    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """The tables of a report for the terminal; each is a sequence of rows."""

    @abstractmethod
    def scalars(self, report: Mapping[str, Any]) -> dict[str, float]:
        """The main metrics of a report, for TensorBoard."""

    @abstractmethod
    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a report that goes into `result.json`."""


def create(section: sections.Task) -> ImageTask:
    """Creates the task of a config section."""
    module, _, name = section.IMPLEMENTATION.partition(":")
    task: ImageTask = getattr(importlib.import_module(module), name)(section)
    return task


class BatchPredictor:
    """Predictions of a network, compiled once.

    Args:
        network: as `ImageTask.predictor` returns it.
        task: of the network.
    """

    def __init__(self, network: keras.Model, task: ImageTask) -> None:
        def decoded(inputs: Batch) -> dict[str, tf.Tensor]:
            return task.decode(task.forward(network, inputs, training=False))

        self._decoded = tf.function(decoded, jit_compile=False, autograph=False)

    def __call__(self, pipeline: Batches) -> Predictions:
        """Predictions for all images of a pipeline, in order."""
        return predictions(self._decoded, pipeline)


def predictions(decoded: Callable[[Batch], Mapping[str, Any]], pipeline: Batches) -> Predictions:
    """Predictions for all images of a pipeline, in order.

    Args:
        decoded: the INPUTS of a batch -> what `ImageTask.decode` returns: tensors or arrays.
        pipeline: the images.
    """
    parts = list[Predictions]()
    for batch in pipeline.evaluation_batches():
        parts.append(of_images(batch, decoded({key: batch[key] for key in INPUTS if key in batch})))
    return joined(parts)


def of_images(batch: Batch, decoded: Mapping[str, Any]) -> Predictions:
    """The predictions for a batch, without its padding, with what it says about the images.

    Args:
        batch: of `Batches.evaluation_batches`.
        decoded: what `ImageTask.decode` returns for it: tensors or arrays.
    """
    kept = batch["weight"].numpy() > 0
    about = {key: batch[key] for key in ABOUT_IMAGES if key in batch}
    return {name: np.asarray(value)[kept] for name, value in {**decoded, **about}.items()}


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The predictions for several batches as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def precise(values: tf.Tensor) -> tf.Tensor:
    """Values of float16 or bfloat16 as float32; others unchanged. Losses and metrics are computed at this precision."""
    return values if values.dtype in (tf.float32, tf.float64) else tf.cast(values, tf.float32)
