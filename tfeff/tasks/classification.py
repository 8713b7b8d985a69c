"""Classification: one class per image, trained with cross-entropy."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, evaluation, models
from tfeff.config.task_parts import Teacher
from tfeff.data.dataset import Dataset
from tfeff.data.input.batches import Batches
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.errors import UserError
from tfeff.networks.heads import CLASSIFIER
from tfeff.tasks.imitation import divergence, feature_difference, softened
from tfeff.tasks.task import CLASSIFICATION, IMAGES, Batch, ImageReading, ImageTask, Predictions, to_float32

TEMPERATURE, PROBABILITIES = "temperature", "probabilities"


class LabeledImagesTask(ImageTask):
    """Images with one class each: how they are read and varied."""

    section: config.LabeledImageSettings

    @property
    def reading(self) -> ImageReading:
        """See `ImageTask`."""
        section = self.section
        if section.center_crop is not None:
            return ImageReading("whole", section.interpolation, section.center_crop)
        return ImageReading("crop" if section.crop else "stretch", section.interpolation)

    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        """See `ImageTransform`."""
        return ImageTransform(
            reader,
            size,
            seed=seed,
            augmentation=self.section.augmentation,
            plain_from=plain_from,
            center_crop=self.section.center_crop,
            interpolation=self.section.interpolation,
        )

    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """Returns the first class for every image."""
        return {
            "label": tf.one_hot(tf.zeros(batch_size, tf.int32), classes),
            "weight": tf.ones(batch_size),
        }


class ClassificationTask(LabeledImagesTask):
    """One class per image; the network returns logits [b, classes]."""

    section: config.ClassificationSettings
    kind = CLASSIFICATION
    losses: ClassVar = {"loss": IMAGES}
    metrics: ClassVar = {"accuracy": IMAGES}
    tuned = (TEMPERATURE,)

    def __init__(self, section: config.ClassificationSettings | None = None) -> None:
        super().__init__(section or config.ClassificationSettings())
        self._with_features = WeakKeyDictionary[keras.Model, keras.Model]()
        self.scores = (TEMPERATURE,) if self.section.temperature_scaling else ()

    def dataset(self, split: Dataset) -> Dataset:
        """Returns all images, if there are at least two classes."""
        if split.num_classes < 2:
            raise UserError(
                f'{split.name} has a single class, "{split.class_names[0]}"; a classifier needs at least two. Add '
                f"another class, such as images without {split.class_names[0]}"
            )
        return split

    def network(self, description: models.Architecture, *, num_classes: int, channels: int) -> models.Network:
        """Returns a backbone with its classifier."""
        return models.build(description, num_classes=num_classes, channels=channels)

    def check(self, resolution: int) -> None:
        """Checks the shift of test-time augmentation."""
        if self.section.tta.shift >= resolution:
            self.section.tta.wrong("shift", f"below the resolution, {resolution}")

    def predictor(self, network: keras.Model) -> keras.Model:
        """Returns the network, with test-time augmentation if it is enabled."""
        tta = self.section.tta
        if not (tta.mirrored or tta.shift):
            return network
        return models.averaged(network, mirrored=tta.mirrored, shift=tta.shift)

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the cross-entropy in nats; accuracy."""
        loss = cross_entropy(batch["label"], outputs, self.section.label_smoothing if training else 0.0)
        weight = tf.cast(batch["weight"], loss.dtype)
        return {
            "loss": tf.reduce_sum(loss * weight),
            "accuracy": tf.reduce_sum(correct(batch["label"], outputs) * weight),
            IMAGES: tf.reduce_sum(weight),
        }

    def forward_with_features(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """Returns logits [b, classes], and the features [b, n] before the classifier if teachers' are imitated.

        The features are those before dropout, which would shrink what imitates a teacher's by its rate.
        """
        if not self.section.teacher.features:
            return self.forward(network, batch, training=training), None
        if network not in self._with_features:
            features = network.get_layer(CLASSIFIER).input
            before = features._keras_history.operation
            if isinstance(before, keras.layers.Dropout):
                features = before.input
            self._with_features[network] = keras.Model(network.inputs, [network.output, features])
        return tuple(self._with_features[network](batch["image"], training=training))

    def without_features(self, outputs: Any) -> Any:
        """Returns the logits."""
        return outputs[0]

    def teacher_targets(self, teachers: Sequence[Any], section: Teacher) -> dict[str, tf.Tensor]:
        """Returns `probabilities` [b, classes], the mean over the teachers; `features_0` [b, n] and so on, of each."""
        targets = {}
        if section.weight:
            targets[PROBABILITIES] = softened([logits for logits, _ in teachers], section.temperature)
        if section.features:
            targets |= {f"features_{number}": to_float32(each) for number, (_, each) in enumerate(teachers)}
        return targets

    def imitated(self, outputs: Any, targets: Mapping[str, tf.Tensor], section: Teacher) -> tf.Tensor:
        """Returns the divergence of the probabilities, and squared difference of the features."""
        logits, features = outputs
        difference = tf.zeros_like(to_float32(logits)[:, 0])
        if section.weight:
            difference += section.weight * divergence(logits, targets[PROBABILITIES], section.temperature)
        if section.features:
            apart = [feature_difference(features, each) for name, each in targets.items() if name != PROBABILITIES]
            difference += section.features / len(apart) * tf.add_n(apart)
        return difference

    def check_teacher(self, teacher: keras.Model, network: keras.Model, where: str) -> None:
        """Accepts all classifiers of the same classes."""

    def score(self, predictions: Predictions, pipeline: Batches) -> dict[str, float]:
        """Returns the temperature that calibrates the network, if it is used."""
        if not self.section.temperature_scaling:
            return {}
        return {TEMPERATURE: evaluation.temperature(pipeline.images.dataset.labels, predictions[PROBABILITIES])}

    def calibrate(self, network: keras.Model, validated: Mapping[str, float]) -> None:
        """Divides the weights that produce the logits by the temperature."""
        if TEMPERATURE in validated:
            for variable in network.layers[-1].weights:
                variable.assign(variable / validated[TEMPERATURE])

    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns `probabilities` [b, classes]."""
        return {PROBABILITIES: tf.nn.softmax(tf.cast(outputs, tf.float32))}

    def constant_loss(self, targets: Mapping[str, np.ndarray]) -> float:
        """See `ImageTask`."""
        return entropy(targets["label"], self.section.label_smoothing)


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Returns the cross-entropy [b] of at least float32, with hard or soft labels [b, classes]."""
    logits = to_float32(logits)
    labels = tf.cast(labels, logits.dtype)
    if smoothing:
        labels = labels * (1 - smoothing) + smoothing / labels.shape[-1]
    return tf.nn.softmax_cross_entropy_with_logits(labels, logits)


def entropy(labels: np.ndarray, smoothing: float = 0.0) -> float:
    """Returns the cross-entropy in nats of the best constant prediction of labels [n, classes].

    It is the entropy of the mean of the labels.
    """
    share = labels.mean(axis=0, dtype=np.float64) * (1 - smoothing) + smoothing / labels.shape[1]
    return float(-np.sum(share[share > 0] * np.log(share[share > 0])))


def correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns 1 where the largest logit and the largest label are of one class, else 0; [b], at least float32."""
    equal = tf.equal(tf.argmax(logits, axis=-1), tf.argmax(labels, axis=-1))
    return tf.cast(equal, to_float32(logits).dtype)
