"""The batches of R-CNN: sampled regions, or all regions of one image, with features from a store."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfeff.boxes.coding import FAST_RCNN_WEIGHTS
from tfeff.data.input.batches import prefetched, rows_of_epochs
from tfeff.data.input.cache import ImageCache
from tfeff.rcnn.regions import RegionSet
from tfeff.rcnn.sampling import RegionSampler
from tfeff.tasks.task import FEATURES, PROPOSED, PROPOSED_VALID

MAX_VALIDATION_BATCHES = 50
"""The same batches validate every epoch."""


class RegionBatches:
    """Batches of sampled regions, a function of the sampler's seed and the epoch. In each, the positives come first.

    An element holds `features` float32 [b, D]; `label` int32 [b], C for background; `code` float32 [b, 4]; `positive`
    float32 [b], 1 for regions with an object.

    Args:
        regions: the regions.
        sampler: draws batches from them; its epoch 0 is for validation, training starts at 1.
    """

    def __init__(self, regions: RegionSet, sampler: RegionSampler) -> None:
        self.regions, self.sampler = regions, sampler
        self.batch_size = sampler.positives + sampler.negatives

    @property
    def steps_per_epoch(self) -> int:
        """Training batches per epoch."""
        return self.sampler.batches

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """Returns all batches from `start_step` to the end of the last of `epochs`."""
        steps = self.steps_per_epoch
        return self._batches(
            rows_of_epochs(lambda epoch: self.rows(epoch + 1), (self.batch_size,), steps, epochs, start_step)
        )

    def evaluation_batches(self) -> tf.data.Dataset:
        """Returns the same batches every time."""
        with tf.device("CPU:0"):
            rows = tf.constant(self.rows(0)[:MAX_VALIDATION_BATCHES])
        return self._batches(tf.data.Dataset.from_tensor_slices(rows))

    def rows(self, epoch: int) -> np.ndarray:
        """Returns rows of the regions of each batch, int64 [batches, batch_size]; epoch 0 is for validation."""
        return np.stack(list(self.sampler.epoch(epoch))).astype(np.int64)

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the batch of these rows."""
        targets = self.regions.targets.take(rows)
        positive = np.arange(len(rows)) < self.sampler.positives
        return {
            # Not cast by TensorFlow, which logs a line about half floats on many CPUs.
            FEATURES: self.regions.features[rows].astype(np.float32),
            "label": np.where(positive, targets.label, self.regions.images.num_classes).astype(np.int32),
            "code": targets.code * np.array(FAST_RCNN_WEIGHTS, np.float32),
            "positive": positive.astype(np.float32),
        }

    def _batches(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        specs = {
            FEATURES: (np.float32, (self.regions.features.shape[1],)),
            "label": (np.int32, ()),
            "code": (np.float32, (4,)),
            "positive": (np.float32, ()),
        }

        def read(rows: np.ndarray) -> list[np.ndarray]:
            found = self.read(rows)
            return [found[name] for name in specs]

        @tf.autograph.experimental.do_not_convert
        def batch(rows: tf.Tensor) -> dict[str, tf.Tensor]:
            values = tf.numpy_function(read, [rows], [dtype for dtype, _ in specs.values()], stateful=False)
            return {
                name: tf.ensure_shape(value, (self.batch_size, *shape))
                for value, (name, (_, shape)) in zip(values, specs.items(), strict=True)
            }

        return prefetched(rows.map(batch))


class ImageBatches:
    """All regions of one image after the other, to detect objects among them.

    An element holds, for an image with n regions, padded to the r of the image with the most: `features` float32
    [1, r, D]; `extra_boxes_yxyx` float32 [1, r, 4]; `extra_valid` bool [1, r], which of them are proposals; and, as
    those of `BoxTransform`, `weight`, `image_size` and `window_yxyx`.

    Args:
        images: the images.
        regions: the images' regions.
    """

    batch_size = 1

    def __init__(self, images: ImageCache, regions: RegionSet) -> None:
        self.images, self.regions = images, regions
        self._most = int(regions.counts.max(initial=1))

    def evaluation_batches(self) -> tf.data.Dataset:
        """Returns every image once, in order."""
        most, size = self._most, self.regions.features.shape[1]
        signature = {
            FEATURES: tf.TensorSpec((1, most, size), tf.float32),
            PROPOSED: tf.TensorSpec((1, most, 4), tf.float32),
            PROPOSED_VALID: tf.TensorSpec((1, most), tf.bool),
            "weight": tf.TensorSpec((1,), tf.float32),
            "image_size": tf.TensorSpec((1, 2), tf.int32),
            "window_yxyx": tf.TensorSpec((1, 4), tf.float32),
        }
        return prefetched(tf.data.Dataset.from_generator(self._elements, output_signature=signature))

    def _elements(self) -> Iterator[dict[str, np.ndarray]]:
        for image in range(len(self.images)):
            boxes, count = self.regions.boxes(image), int(self.regions.counts[image])
            missing = self._most - count
            objects = count - len(self.regions.proposals[image])
            height, width = self.regions.images.sizes[image].tolist()
            yield {
                FEATURES: np.pad(self.regions.features_of(image).astype(np.float32), [(0, missing), (0, 0)])[None],
                PROPOSED: np.pad(boxes, [(0, missing), (0, 0)])[None],
                PROPOSED_VALID: ((np.arange(self._most) >= objects) & (np.arange(self._most) < count))[None],
                "weight": np.ones(1, np.float32),
                "image_size": np.array([[height, width]], np.int32),
                "window_yxyx": np.array([[0, 0, height, width]], np.float32),
            }


class FittedBatches(RegionBatches):
    """A stand-in for the training batches of a fitted head: an epoch of one step, which changes nothing."""

    @property
    def steps_per_epoch(self) -> int:
        """One."""
        return 1

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """Returns an empty batch for each step."""
        return tf.data.Dataset.from_tensors({"weight": tf.zeros(1)}).repeat(epochs - start_step)
