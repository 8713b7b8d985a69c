"""What all detectors of objects share, whatever their networks and losses."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, models
from tfeff.config.task_parts import Teacher
from tfeff.data.dataset import Dataset, fitted_scales
from tfeff.data.input.batches import Batches
from tfeff.data.input.box_transform import NO_LABEL, BoxTransform
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.data.sources.parts import part_ids
from tfeff.errors import UserError
from tfeff.evaluation import Detections
from tfeff.evaluation.average_precision import average_precisions, mean_average_precision
from tfeff.evaluation.detection_errors import DEFAULT_THRESHOLD, best_f1_threshold
from tfeff.evaluation.matching import match
from tfeff.tasks.coverage import Coverage
from tfeff.tasks.imitation import dense_difference
from tfeff.tasks.suppression import NAMES, suppress
from tfeff.tasks.task import DETECTION, Batch, ImageReading, ImageTask, Predictions

MEAN_AP, THRESHOLD = "mean_ap", "score_threshold"
"""Validation metrics: VOC's mean average precision at an IoU of 0.5, and the threshold with the highest F1."""


class ObjectDetectionTask(ImageTask):
    """A detector. Batches are those of `BoxTransform`; boxes are yxyx in pixels of the network's input."""

    kind = DETECTION
    section: config.ObjectDetectionSettings
    metrics: ClassVar = {}
    scores: Sequence[str] = (MEAN_AP, THRESHOLD)
    tuned: Sequence[str] = (THRESHOLD,)

    @property
    def reading(self) -> ImageReading:
        """See `ImageTask`."""
        fit: Literal["stretch", "letterbox"] = "stretch" if self.section.stretch else "letterbox"
        return ImageReading(fit, max_objects=self.section.max_objects)

    def network(self, description: models.Detector, *, num_classes: int, channels: int) -> models.Network:
        """Returns the detector; its `description` holds what the losses need."""
        return models.build_detector(description, num_classes=num_classes, channels=channels)

    def transform(self, reader: Reader, size: tuple[int, int], *, seed: int, plain_from: int | None) -> Transform:
        """See `BoxTransform`."""
        return self.box_transform(reader, size, seed=seed, plain_from=plain_from)

    def box_transform(self, reader: Reader, size: tuple[int, int], **options: Any) -> BoxTransform:
        """Returns the transform of the section's settings, with further ones."""
        return BoxTransform(
            reader,
            size,
            max_objects=self.section.max_objects,
            stretch=self.section.stretch,
            augmentation=self.section.augmentation,
            **options,
        )

    @property
    def suppresses(self) -> bool:
        """Whether its predictions have duplicates, which non-maximum suppression removes."""
        return True

    @property
    def class_agnostic(self) -> bool:
        """See `ImageTask`."""
        return self.section.suppression.class_agnostic

    def predictor(self, network: models.Network) -> models.Network:
        """Without outputs that only training uses."""
        return network.predictor()

    @abstractmethod
    def candidates(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns all predictions, before any selection.

        Args:
            outputs: what `forward` returned.

        Returns:
            boxes_yxyx float32 [b, n, 4], in pixels; scores float32 [b, n, classes], in [0, 1].
        """

    @abstractmethod
    def geometry(self, description: Any, size: tuple[int, int]) -> dict[str, tf.Tensor]:
        """Returns what the predictions are relative to, such as anchors: part of the outputs of `forward`.

        Args:
            description: the network's description.
            size: (height, width) of its input.

        Returns:
            float32 [1, n, ...] each, in pixels.
        """

    @abstractmethod
    def coverage(self, batch: Batch, geometry: Mapping[str, tf.Tensor]) -> Coverage:
        """Measures how well the anchors or cells cover the objects of a batch, by the rules of the losses.

        Args:
            batch: the targets.
            geometry: see `geometry`.
        """

    def first_stage_boxes(self, outputs: Any) -> tf.Tensor | None:
        """Returns the regions that a two-stage detector refines, boxes_yxyx [b, n, 4]; None for other detectors."""
        return None

    def decode(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Detections; see `suppress`."""
        return suppress(*self.candidates(outputs), self.section.suppression)

    def placed(self, predictions: dict[str, tf.Tensor], sizes: tf.Tensor, covered: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `place`."""
        return predictions | place(predictions, sizes, covered)

    def served(self, predictions: dict[str, tf.Tensor], names: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs of a SavedModel, with the names of the classes."""
        return predictions | {"names": tf.gather(names, predictions["labels"])}

    def dummy_targets(self, batch_size: int, classes: int) -> Batch:
        """Returns an object of 32 x 32 pixels in every image."""
        shape = batch_size, self.section.max_objects
        first = tf.broadcast_to(tf.range(shape[1]) == 0, shape)
        return {
            "boxes_yxyx": tf.where(first[..., tf.newaxis], tf.constant([0.0, 0.0, 32.0, 32.0]), 0.0),
            "label": tf.where(first, 0, NO_LABEL),
            "valid": first,
            "difficult": tf.zeros(shape, tf.bool),
            "crowd": tf.zeros(shape, tf.bool),
            "weight": tf.ones(batch_size),
        }

    def score(self, predictions: Predictions, pipeline: Batches) -> dict[str, float]:
        """See `ImageTask`."""
        found, images = whole_images(detections(predictions), pipeline.images.dataset)
        matching = match(found, images.objects, images.num_classes)
        return {
            MEAN_AP: float(mean_average_precision(average_precisions(matching))),
            THRESHOLD: best_f1_threshold(matching),
        }


class DenseDetectionTask(ObjectDetectionTask):
    """A detector that predicts at every position of its feature maps. Outputs: those of the network, and `geometry`."""

    def forward(self, network: keras.Model, batch: Batch, *, training: bool) -> Any:
        """See the class."""
        outputs = super().forward(network, batch, training=training)
        return outputs | self.geometry(network.description, network.size)

    UNCOMPARED = frozenset[str]()
    """Outputs of which a teacher can have another number of values, because `candidates` makes boxes of them."""

    def branches(self, outputs: Any) -> list[Any]:
        """Returns the outputs of each set of heads for boxes and classes, first those that `candidates` reads."""
        return [outputs]

    def teacher_targets(self, teachers: Sequence[Any], section: Teacher) -> dict[str, tf.Tensor]:
        """`boxes_0` [b, n, 4] and `scores_0` [b, n, classes], and so on, of each, and of each of its `branches`."""
        candidates = [self.candidates(branch) for each in teachers for branch in self.branches(each)]
        boxes = {f"boxes_{number}": boxes for number, (boxes, _) in enumerate(candidates)}
        return boxes | {f"scores_{number}": scores for number, (_, scores) in enumerate(candidates)}

    def imitated(self, outputs: Any, targets: Mapping[str, tf.Tensor], section: Teacher) -> tf.Tensor:
        """Returns the difference of scores and boxes at all positions, summed over `branches`."""
        ours, count = [self.candidates(each) for each in self.branches(outputs)], len(targets) // 2
        apart = [
            dense_difference(*ours[n % len(ours)], targets[f"boxes_{n}"], targets[f"scores_{n}"]) for n in range(count)
        ]
        return section.weight * len(ours) / count * tf.add_n(apart)

    def check_teacher(self, teacher: keras.Model, network: keras.Model, where: str) -> None:
        """Both must predict at the same positions of images of the same size, by the same heads."""
        if teacher.output.keys() != network.output.keys():
            raise UserError(
                f"{where} has the outputs {', '.join(teacher.output)}, not {', '.join(network.output)}: give a run "
                "with the same task.network.end_to_end"
            )
        shapes = [
            {name: tuple(each.shape[1 : 2 if name in self.UNCOMPARED else None]) for name, each in model.output.items()}
            for model in (teacher, network)
        ]
        if teacher.size != network.size or shapes[0] != shapes[1]:
            described = teacher.description, network.description
            keys = [key for key, values in _positions(*described).items() if values[0] != values[1]]
            raise UserError(
                f"{where} predicts at other positions ({shapes[0]} of images of {teacher.size}, not {shapes[1]} of "
                f"{network.size}): give a run with the same {' and '.join(keys) or 'task.network and model.resolution'}"
            )


def _positions(*described: Any) -> dict[str, list[Any]]:
    """Returns what decides where detectors predict: the values of each description, by dotted key."""
    fields = "aspect", "levels", "anchor_scales", "anchor_aspects", "boxes"
    values = {f"task.network.{key}": [getattr(each, key, None) for each in described] for key in fields}
    anchors = [getattr(each, "per_position", None) for each in described]
    return {"model.resolution": [each.resolution for each in described], **values, "task.anchors_per_level": anchors}


def detection_threshold(validated: Mapping[str, float]) -> float:
    """Returns the minimum score of the detections to show: the threshold with the highest F1 on the validation images,
    else DEFAULT_THRESHOLD.

    Args:
        validated: the metrics of `scores` on the run's validation images, if it has any.
    """
    return validated.get(THRESHOLD, DEFAULT_THRESHOLD)


def place(predictions: Mapping[str, Any], sizes: Any, covered: Any) -> dict[str, tf.Tensor]:
    """Returns detections in pixels of the original images, clipped to them.

    Those of which nothing is left, because they lie on the padding of the network's input, are dropped.

    Args:
        predictions: what `suppress` returns, as tensors or arrays.
        sizes: height and width of the original images, [b, 2].
        covered: height and width that they cover in the network's input, from its top left, [b, 2].

    Returns:
        The same, by the same names.
    """
    sizes, covered = tf.cast(sizes, tf.float32), tf.cast(covered, tf.float32)
    scale, limit = (tf.tile(each, (1, 2))[:, tf.newaxis] for each in (sizes / covered, sizes))
    found = {name: tf.convert_to_tensor(predictions[name]) for name in NAMES}
    found["boxes"] = tf.clip_by_value(found["boxes"] * scale, 0.0, limit)
    number = found["boxes"].shape[1]
    rank, given = tf.range(number), tf.cast(found["count"], tf.int32)[:, tf.newaxis]
    left = tf.reduce_all(found["boxes"][..., 2:] > found["boxes"][..., :2], axis=-1) & (rank < given)
    # All others move to the end, in their order.
    _, order = tf.math.top_k(tf.where(left, 2 * number - rank, number - rank), number)
    # Rows of all images as one table: OpenVINO 2026.4 crashes in a gather with batch dimensions.
    rows = order + number * tf.range(tf.shape(order)[0])[:, tf.newaxis]
    count = tf.reduce_sum(tf.cast(left, tf.int32), axis=1)
    real = rank < count[:, tf.newaxis]
    boxes = tf.gather(tf.reshape(found["boxes"], (-1, 4)), rows)
    scores, labels = (tf.gather(tf.reshape(found[name], (-1,)), rows) for name in ("scores", "labels"))
    return {
        "boxes": tf.where(real[..., tf.newaxis], boxes, 0.0),
        "scores": tf.where(real, scores, 0.0),
        "labels": tf.where(real, labels, 0),
        "count": count,
    }


def detections(predictions: Predictions) -> list[Detections]:
    """Returns the detections of each image, in pixels of the original image, clipped to it; see `place`."""
    placed = place(predictions, predictions["image_size"], predictions["window_yxyx"][:, 2:])
    return [
        Detections(box[:count], label[:count], score[:count])
        for box, label, score, count in zip(
            *(placed[name].numpy() for name in ("boxes", "labels", "scores", "count")), strict=True
        )
    ]


def whole_images(found: Sequence[Detections], dataset: Dataset) -> tuple[Sequence[Detections], Dataset]:
    """Returns the detections in the images that tiles were cut from, and these images; of others the same.

    Images of which a tile is missing, because it could not be decoded or was not read, lack what it shows.

    Args:
        found: the detections in each image of the dataset.
        dataset: images or tiles.
    """
    if dataset.grid is None:
        return found, dataset
    assert dataset.cropped is not None
    places, merged = np.unique(dataset.owners), list[Detections]()
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    by_id = dict(zip(dataset.ids, found, strict=True))
    for place in places:
        height, width = dataset.cropped.sizes[place].tolist()
        tiling = dataset.grid.of((height, width))
        owners = np.full(len(tiling.tiles_yxyx), place, np.int32)
        parts = [by_id.get(name, nothing) for name in part_ids(dataset.cropped, owners, tiling.tiles_yxyx)]
        boxes, labels, scores = tiling.merge(
            [each.boxes_yxyx for each in parts],
            [each.labels for each in parts],
            [each.scores for each in parts],
            class_agnostic=dataset.grid.class_agnostic,
        )
        merged.append(Detections(boxes, labels, scores))
    return merged, dataset.uncut


def relative_objects(images: Dataset, size: tuple[int, int], *, stretch: bool) -> list[np.ndarray]:
    """Returns the boxes of each image that are not ignored, relative to the network's input: yxyx float64 [k, 4].

    Args:
        images: images with objects.
        size: (height, width) of the input.
        stretch: whether images fill the input instead of keeping their aspect ratio.
    """
    scales = np.tile(fitted_scales(images.sizes, size, stretch=stretch) / size, 2)
    return [each.boxes_yxyx[~each.ignored] * scale for each, scale in zip(images.objects, scales, strict=True)]
