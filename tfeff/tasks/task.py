"""The interface of a task: forward pass, losses and metrics; and, for tasks on images, network, images and decoding.

The training loop uses only `Task`. Evaluation is that of the kind of prediction; see `tfeff.reports`.
"""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf

from tfeff import models
from tfeff.config import tasks as sections
from tfeff.config.task_parts import StoredProposals, Teacher
from tfeff.data.dataset import Dataset
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.errors import UserError

Batch = Mapping[str, tf.Tensor]
"""Tensors by name, [b, ...] each. Batches of images: `image` float32 [b, h, w, c] in [0, 255]; `label` float32
[b, classes], soft or one-hot; `weight` float32 [b]; further targets by name, such as `box`."""
Predictions = Mapping[str, np.ndarray]
"""Decoded predictions of n images by name, [n, ...] each; and what the batches say about the images, `image_size` and
`window_yxyx`, if they say it."""
ABOUT_IMAGES = ("image_size", "window_yxyx")
PROPOSED, PROPOSED_VALID = "extra_boxes_yxyx", "extra_valid"
DIVERGED = "predictions are NaN or infinite: the network has diverged"
FEATURES = "features"
INPUTS = ("image", FEATURES, PROPOSED, PROPOSED_VALID, "image_size")
"""What networks read of a batch, if it has it: images, or features of them with the sizes of the images, and proposals
(see `ImageTask.proposals`)."""
Role = Literal["training", "validation", "evaluation"]
Progress = Callable[[str, int, int], None]
IMAGES = "images"
"""The count of most losses and metrics: the sum of the batch's weights."""


class Task(ABC):
    """What a network is trained for.

    Losses and metrics are means over the whole batch, which several devices share and gradient accumulation splits.
    They are therefore computed as a *total* and a *count* of each part; the mean is the sum of all totals divided by
    the sum of all counts, of losses plus what is `added`, or 0 if that is 0. The loss that is minimized is the sum of
    the means of `losses`.

    Early stopping, the best epoch and searches minimize what has a name that ends in "loss", and maximize all other
    metrics and scores. Give a score or metric that should be low such a name, such as "distance_loss".

    Attributes:
        losses: name of each loss -> name of its count. All names end in "loss".
        metrics: name of each metric -> name of its count.
        added: name of a count -> what is added to its sum for losses, such as 1 for those that are divided by the
            number of positives plus one.
        scores: names of the validation metrics that need all predictions at once; see `ImageTask.score`.
        tuned: those `scores` that are settings found by validation, not measures of quality.
        unwatched: those `scores` that explain others, and by which training cannot be steered.
    """

    losses: ClassVar[Mapping[str, str]]
    metrics: ClassVar[Mapping[str, str]]
    added: ClassVar[Mapping[str, float]] = {}
    scores: Sequence[str] = ()
    tuned: Sequence[str] = ()
    unwatched: Sequence[str] = ()

    def forward(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """Returns the network's outputs for a batch."""
        return network(batch["image"], training=training)

    @abstractmethod
    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the total of each loss and metric, and the value of each count: scalars of at least float32.

        Args:
            batch: the targets.
            outputs: what `forward` returned.
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
        """Returns zeros for accumulating the totals of batches: float64 [k], in the order of `names`."""
        return np.zeros(len(self.names))

    def means(self, sums: np.ndarray) -> dict[str, float]:
        """Returns `loss`, the sum of all losses; each loss, if there are several; and each metric.

        Args:
            sums: totals and counts in the order of `names`, summed over any number of batches, which count as one.
        """
        value = dict(zip(self.names, map(float, sums), strict=True))
        number = {name: value[count] + self.added.get(count, 0.0) for name, count in self.losses.items()}
        number |= {name: value[count] for name, count in self.metrics.items()}
        means = {name: value[name] / count if count else 0.0 for name, count in number.items()}
        return {"loss": sum(means[name] for name in self.losses)} | means


@dataclass(frozen=True)
class PredictionKind:
    """What is predicted of an image.

    Attributes:
        name: its evaluator's key in `tfeff.reports.EVALUATORS`.
        annotations: what must be known about images: a label each, or objects with boxes.
        boxes: names of the boxes among the predictions -> their format.
        detects: whether predictions are detections, a varying number per image.
    """

    name: str
    annotations: Literal["labels", "objects"]
    boxes: Mapping[str, str] = field(default_factory=dict)
    detects: bool = False


CLASSIFICATION = PredictionKind("classification", "labels")
EMBEDDING = PredictionKind("embedding", "labels")
LOCALIZATION = PredictionKind("localization", "objects", {"box": "yxyx, relative to the image"})
DETECTION = PredictionKind("detection", "objects", {"boxes": "yxyx, in pixels of the input"}, detects=True)


@dataclass(frozen=True)
class ImageReading:
    """How images are read.

    Attributes:
        fit: how an image is brought to the size of the network's input; see `tfeff.data.images.resizing`.
        interpolation: how images are resized.
        center_crop: side of the central square that the network sees, relative to the image's shorter side; only with
            `fit="whole"`.
        max_objects: how many objects of an image are used at most; None: all.
    """

    fit: Literal["stretch", "crop", "letterbox", "whole"] = "stretch"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    center_crop: float | None = None
    max_objects: int | None = None


class StoredTraining(ABC):
    """Training of a part of a network on features of images that its frozen rest computes once."""

    @abstractmethod
    def part(self, network: keras.Model) -> keras.Model:
        """Returns the part of the network that is trained, from features to outputs."""

    @abstractmethod
    def batches(
        self, network: keras.Model, images: ImageCache, role: Role, *, seed: int, batch_size: int, progress: Progress
    ) -> Any:
        """Returns the batches of a role, like those of `Batches`; features that the store lacks are computed here.

        Args:
            network: the network, with the weights of its frozen part.
            images: the images.
            role: what the batches are for: `training`, `validation` in training, or `evaluation` of all images.
            seed: the experiment's seed.
            batch_size: the experiment's batch size.
            progress: called with the name of what is computed, images done and images in total.

        Raises:
            UserError: the images do not suffice.
        """

    @abstractmethod
    def start(
        self,
        network: keras.Model,
        training: Any,
        *,
        loaded: Collection[str],
        seed: int,
        report: Callable[[str], None],
    ) -> None:
        """Sets the initial weights of the trained part; those of a network whose section is `fitted` are final.

        Args:
            network: the network, with its other weights.
            training: what `batches` returned for training.
            loaded: paths of the variables that have loaded weights.
            seed: the experiment's seed.
            report: called with messages.
        """


class ImageTask(Task):
    """A task on images: the images it reads, the network, the augmentation and the predictions.

    Attributes:
        kind: what it predicts.
        section: its part of the config.
    """

    kind: ClassVar[PredictionKind]
    section: sections.TaskSettings

    @property
    def reading(self) -> ImageReading:
        """How its images are read."""
        return ImageReading()

    @property
    def proposals(self) -> StoredProposals | None:
        """The region proposals in batches, which the exported model takes as further inputs; None: there are none.

        Batches hold them as `extra_boxes_yxyx` and `extra_valid`, see `BoxTransform`.
        """
        return None

    @property
    def stored(self) -> StoredTraining | None:
        """How the network is trained on stored features; None: it is trained on images."""
        return None

    def __init__(self, section: sections.TaskSettings) -> None:
        self.section = section

    def dataset(self, split: Dataset) -> Dataset:
        """Returns the images of a split that the task can use.

        Raises:
            UserError: there are none, or too few classes.
        """
        return split

    def check_validation(self, images: Dataset) -> None:
        """Checks that `score` can be computed on the validation images.

        Raises:
            UserError: it cannot.
        """

    def measured(self, images: Dataset, description: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Returns what the network takes from the training images, such as anchors.

        Args:
            images: the training images.
            description: the network's description, in which the measured fields are not set yet.

        Returns:
            fields of the description to replace, JSON-serializable; what the user should know, one line each.
        """
        return {}, ()

    @abstractmethod
    def network(self, description: Any, *, num_classes: int, channels: int) -> models.Network:
        """Returns the randomly initialized network.

        Args:
            description: the network's description; see `TaskSettings.describe`.
            num_classes: number of classes.
            channels: channels of an image.
        """

    @abstractmethod
    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        """Returns the augmentation and fitting of images and their annotations; arguments as for `ImageTransform`."""

    def check(self, resolution: int) -> None:
        """Checks the section against the network's resolution, in pixels.

        Raises:
            UserError: they do not fit.
        """

    def predictor(self, network: keras.Model) -> keras.Model:
        """Returns the trained network as it is evaluated and exported."""
        return network

    def calibrate(self, network: keras.Model, validated: Mapping[str, float]) -> None:
        """Changes the trained network as validation found it better, if it did.

        Args:
            network: the network, with its final weights.
            validated: the metrics of `scores` on the run's validation images, if it has any.
        """

    def forward_with_features(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """Returns what is compared with teachers: the outputs, and features if the task imitates these."""
        return self.forward(network, batch, training=training)

    def without_features(self, outputs: Any) -> Any:
        """Returns the outputs alone."""
        return outputs

    def teacher_targets(self, teachers: Sequence[Any], section: Teacher) -> dict[str, tf.Tensor]:
        """Returns what `imitated` compares the outputs with, by name: at least float32 [b, ...] each.

        The row of an image depends on no other image of the batch, so it can be stored.

        Args:
            teachers: what `forward_with_features` of each teacher returned.
            section: what is imitated.
        """
        raise NotImplementedError

    def imitated(self, outputs: Any, targets: Mapping[str, tf.Tensor], section: Teacher) -> tf.Tensor:
        """Measures how far the outputs are from those of teachers, weighted as the section says; at least float32 [b].

        Args:
            outputs: what `forward_with_features` returned.
            targets: what `teacher_targets` returned.
            section: what is imitated.
        """
        raise NotImplementedError

    def check_teacher(self, teacher: keras.Model, network: keras.Model, where: str) -> None:
        """Checks that the outputs of two networks can be compared.

        Raises:
            UserError: they cannot; its message begins with `where`.
        """
        raise UserError(f"{where}: task.name={self.section.name} cannot imitate teachers; remove task.teacher.runs")

    @abstractmethod
    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns predictions by name, float32 [b, ...], from the network's outputs. Evaluation and export use it."""

    @property
    def class_agnostic(self) -> bool:
        """Whether detections of different classes suppress each other."""
        return False

    def placed(self, predictions: dict[str, tf.Tensor], sizes: tf.Tensor, covered: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns predictions with boxes in pixels of the original images.

        Args:
            predictions: what `decode` returned.
            sizes: height and width of the original images, int32 [b, 2].
            covered: height and width that they cover in the network's input, from its top left, int32 [b, 2].
        """
        return predictions

    def served(self, predictions: dict[str, tf.Tensor], names: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs of a SavedModel.

        Args:
            predictions: what `placed` returned.
            names: class names, string [classes].
        """
        label = tf.gather(names, tf.argmax(predictions["probabilities"], axis=-1))
        return predictions | {"label": label}

    @abstractmethod
    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """Returns dummy targets for benchmarking: a batch without its images."""

    def constant_loss(self, targets: Mapping[str, np.ndarray]) -> float:
        """Returns the training loss of the best prediction that is the same for all images; infinity if it is unknown.

        Args:
            targets: the targets of n images by name, [n, ...] each.
        """
        return math.inf

    def score(self, predictions: Predictions, pipeline: Batches) -> dict[str, float]:
        """Returns the validation metrics of `scores`.

        Args:
            predictions: predictions for all images of the pipeline, in order.
            pipeline: the validation images.
        """
        return {}


def create(section: sections.TaskSettings) -> ImageTask:
    """Creates the task of a config section."""
    implementation: Any = section.IMPLEMENTATION
    if isinstance(implementation, str):
        module, _, name = implementation.partition(":")
        implementation = getattr(importlib.import_module(module), name)
    task: ImageTask = implementation(section)
    return task


def all_finite(outputs: Any) -> tf.Tensor:
    """Returns whether a network's outputs, in any structure, are finite: bool []."""
    return tf.reduce_all(
        [tf.reduce_all(tf.math.is_finite(each)) for each in tf.nest.flatten(outputs) if each.dtype.is_floating]
    )


class BatchPredictor:
    """Predictions of a network, compiled once.

    Args:
        network: what `ImageTask.predictor` returned.
        task: the network's task.

    """

    def __init__(self, network: keras.Model, task: ImageTask) -> None:
        def decoded(inputs: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            outputs = task.forward(network, inputs, training=False)
            return task.decode(outputs), all_finite(outputs)

        self._detects = task.kind.detects
        self._decoded = tf.function(decoded, jit_compile=False, autograph=False)

    def decoded(self, inputs: Batch) -> dict[str, tf.Tensor]:
        """Returns what `ImageTask.decode` returns for the INPUTS of a batch.

        Raises:
            UserError: outputs of a detector are not finite; the selection of detections would drop them.
        """
        found, finite = self._decoded(inputs)
        if self._detects and not finite:
            raise UserError(DIVERGED)
        return found

    def __call__(self, pipeline: Batches) -> Predictions:
        """Returns predictions for all images of a pipeline, in order."""
        return predictions(self.decoded, pipeline)


def predictions(decoded: Callable[[Batch], Mapping[str, Any]], pipeline: Batches) -> Predictions:
    """Returns predictions for all images of a pipeline, in order.

    Args:
        decoded: the INPUTS of a batch -> what `ImageTask.decode` returns: tensors or arrays.
        pipeline: the images.
    """
    parts = list[Predictions]()
    for batch in pipeline.evaluation_batches():
        parts.append(of_images(batch, decoded({key: batch[key] for key in INPUTS if key in batch})))
    return concatenate(parts)


def of_images(batch: Batch, decoded: Mapping[str, Any]) -> Predictions:
    """Returns the predictions for a batch, without its padding, with what it says about the images.

    Args:
        batch: a batch from `Batches.evaluation_batches`.
        decoded: what `ImageTask.decode` returned for it: tensors or arrays.
    """
    kept = batch["weight"].numpy() > 0
    about = {key: batch[key] for key in ABOUT_IMAGES if key in batch}
    return {name: np.asarray(value)[kept] for name, value in {**decoded, **about}.items()}


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Concatenates the predictions for several batches."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def to_float32(values: tf.Tensor) -> tf.Tensor:
    """Casts float16 and bfloat16 to float32, the precision of losses and metrics; others are unchanged."""
    return values if values.dtype in (tf.float32, tf.float64) else tf.cast(values, tf.float32)
