"""Embedding: a vector per image, near those of images of the same class, also of classes that were not trained on.

Two losses on vectors of length 1. Normalized softmax is the cross-entropy of cosine similarities to one learned vector
per class, its proxy (Zhai and Wu, "Classification is a Strong Baseline for Deep Metric Learning", arXiv:1811.12649).
The supervised contrastive loss compares the images of a batch with each other, as Siamese networks do (Khosla et al.,
"Supervised Contrastive Learning", arXiv:2004.11362, equation 2).
"""

from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, evaluation, models
from tfeff.data.dataset import Dataset
from tfeff.data.input.batches import Batches
from tfeff.errors import UserError
from tfeff.evaluation.retrieval import retrieval
from tfeff.evaluation.unknown import SIZES
from tfeff.models.derived import SIMILARITIES, VECTOR
from tfeff.tasks.classification import LabeledImagesTask, correct, cross_entropy
from tfeff.tasks.task import EMBEDDING, Batch, Predictions, to_float32

RECALL, MAP_AT_R, THRESHOLD = "recall_at_1", "map_at_r", "similarity_threshold"
"""Validation metrics: of each image among all others, see `evaluation.retrieval`; the threshold of similarities at the
equal error rate of pairs, see `evaluation.verification`, if there are pairs of one class and of different ones."""
UNKNOWN = {size: f"unknown_threshold_{size}" for size in SIZES}
"""Images in a gallery -> validation metric: the similarity that few images of unknown classes reach, see
`evaluation.unknown`, if there are enough images."""
COMPARED = "compared"
"""The count of loss and accuracy: with proxies, images of trained classes; else images with another one of their class
in their part of the batch."""
NEVER = -1e9  # a logit


class EmbeddingTask(LabeledImagesTask):
    """A vector per image. Networks come from `tfeff.models.embedder`.

    The validation loss of `supervised_contrastive` compares all validation images with each other, because batches of
    images in order hold few classes. If no validation image is of a class that was trained on, proxies say nothing, and
    the validation loss of `normalized_softmax` is the supervised contrastive one, too. The validation accuracy is then
    the recall at 1.
    """

    section: config.EmbeddingSettings
    kind = EMBEDDING
    losses: ClassVar = {"loss": COMPARED}
    metrics: ClassVar = {"accuracy": COMPARED}
    scores = (RECALL, MAP_AT_R, THRESHOLD, *UNKNOWN.values())
    tuned = (THRESHOLD, *UNKNOWN.values())

    def __init__(self, section: config.EmbeddingSettings | None = None) -> None:
        super().__init__(section or config.EmbeddingSettings())

    def dataset(self, split: Dataset) -> Dataset:
        """Returns all images, if there are at least two classes."""
        if split.num_classes < 2:
            raise UserError(
                f'{split.name} has a single class, "{split.class_names[0]}"; at least two are needed to learn how they '
                "differ"
            )
        return split

    def check_validation(self, images: Dataset) -> None:
        """Requires two images of a class, and two classes, for neighbors and a threshold."""
        counts = images.class_counts()
        if np.count_nonzero(counts) < 2:
            problem = "are all of one class, so that there is no other one to tell it from"
        elif counts.max() < 2:
            problem = "have no class with two images, so that there are no pairs of one class to compare"
        else:
            return
        raise UserError(
            f"the {len(images):,} validation images {problem}; raise data.validation_fraction, give a validation split "
            "with several images of several classes, or train without: data.validation_fraction=0"
        )

    def network(self, description: models.Architecture, *, num_classes: int, channels: int) -> models.Network:
        """Returns a backbone with a vector, and proxies of the classes if the loss has some."""
        backbone = models.build(description, num_classes=num_classes, channels=channels, include_top=False)
        return models.embedder(
            backbone,
            dimension=self.section.dimension,
            dropout=description.dropout,
            proxies=num_classes if self.section.loss == "normalized_softmax" else 0,
        )

    def predictor(self, network: keras.Model) -> keras.Model:
        """Returns the network without proxies."""
        return keras.Model(network.inputs, {VECTOR: network.output[VECTOR]})

    def totals(self, batch: Batch, outputs: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the loss in nats, and the accuracy.

        An image is classified correctly if its nearest proxy, or the nearest other image of the batch, is of its class.
        """
        labels = batch["label"]
        if SIMILARITIES in outputs:
            similarity = to_float32(outputs[SIMILARITIES])
            # Classes that were not trained on have the last numbers.
            labels = tf.cast(labels[:, : similarity.shape[-1]], similarity.dtype)
            loss, right = cross_entropy(labels, similarity / self.section.temperature), correct(labels, similarity)
            weight = tf.cast(batch["weight"], loss.dtype) * tf.reduce_sum(labels, axis=-1)
        else:
            vectors = tf.nn.l2_normalize(to_float32(outputs[VECTOR]), axis=-1)
            weight = tf.cast(batch["weight"], vectors.dtype)
            loss, right, comparable = contrastive(
                vectors, tf.cast(labels, vectors.dtype), weight, self.section.temperature
            )
            weight *= comparable
        return {
            "loss": tf.reduce_sum(loss * weight),
            "accuracy": tf.reduce_sum(right * weight),
            COMPARED: tf.reduce_sum(weight),
        }

    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns `embedding` [b, dimension], of length 1; for a network with proxies, `similarities` [b, classes]."""
        found = {"embedding": tf.nn.l2_normalize(tf.cast(outputs[VECTOR], tf.float32), axis=-1)}
        if SIMILARITIES in outputs:
            found[SIMILARITIES] = tf.cast(outputs[SIMILARITIES], tf.float32)
        return found

    def served(self, predictions: dict[str, tf.Tensor], names: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the vectors alone."""
        return predictions

    def score(self, predictions: Predictions, pipeline: Batches) -> dict[str, float]:
        """See `ImageTask`; and `loss` and `accuracy`, if batches cannot measure them."""
        vectors, labels = predictions["embedding"], pipeline.images.dataset.labels
        found = retrieval(vectors, labels)
        scores = {RECALL: float(found.found_within(1).mean()), MAP_AT_R: float(found.average_precision.mean())}
        threshold, _ = evaluation.equal_error_threshold(evaluation.pairs_of(vectors, labels))
        if not np.isnan(threshold):
            scores[THRESHOLD] = threshold
        unknown = evaluation.unknown_thresholds(vectors, labels)
        scores |= {UNKNOWN[size]: similarity for size, similarity in unknown.items()}
        trained = predictions[SIMILARITIES].shape[1] if SIMILARITIES in predictions else 0
        if not (labels < trained).any():
            loss = evaluation.contrastive_loss(vectors, labels, self.section.temperature)
            scores |= {"loss": loss, "accuracy": scores[RECALL]}
        return scores


def contrastive(
    vectors: tf.Tensor, labels: tf.Tensor, weight: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the supervised contrastive loss of images, compared with all others of a batch.

    Args:
        vectors: float [b, d], of length 1.
        labels: float [b, classes], one-hot.
        weight: float [b], 0 for padding, which is compared with nothing.
        temperature: cosine similarities are divided by it.

    Returns:
        float [b] each: the loss; 1 if the nearest other image is of the same class, else 0; 1 if there is another image
        of the class, else 0, and then the loss is 0.
    """
    others = tf.cast(weight > 0, vectors.dtype) * (1 - tf.eye(tf.shape(vectors)[0], dtype=vectors.dtype))
    same = tf.matmul(labels, labels, transpose_b=True) * others
    logits = tf.where(others > 0, tf.matmul(vectors, vectors, transpose_b=True) / temperature, NEVER)
    number = tf.reduce_sum(same, axis=1)
    likelihood = tf.nn.log_softmax(logits)
    loss = -tf.math.divide_no_nan(tf.reduce_sum(tf.where(same > 0, likelihood, 0.0), axis=1), number)
    nearest = tf.argmax(logits, axis=1)
    return loss, tf.gather(same, nearest, axis=1, batch_dims=1), tf.cast(number > 0, vectors.dtype)
