"""Training batches whose images are varied and resized on the device."""

import tensorflow as tf

from tfeff.data.images import resizing
from tfeff.data.input.batches import Batches, prefetched
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.transform import Batch, Shard
from tfeff.errors import UserError

IN_BATCHES = (
    "data.augment_on_device=true: only images with one label that have one size in a cache are prepared in batches; "
    "set it to false, or data.cache to memory or disk, without task.center_crop"
)
BY_CPU = "data.augment_on_device=true: data.augment is made by the CPU; remove one of the two"


class DeviceBatches(Batches):
    """Training batches that are finished on the device: images travel as uint8, and are varied and resized there.

    An element of `training_batches` holds what `finish` takes. All its tensors have a row for each image, so that
    devices can share them; if images mix, only workers can.

    Args:
        batches: batches that are finished on the host.

    Raises:
        UserError: images are not prepared in whole batches.
    """

    def __init__(self, batches: Batches) -> None:
        if batches.transform.per_example or not isinstance(batches.transform, ImageTransform):
            raise UserError(IN_BATCHES)
        if batches.transform.given is not None:
            raise UserError(BY_CPU)
        self.__dict__ |= vars(batches)

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """See `Batches`."""

        def loaded(table: Batch) -> Batch:
            rows = tf.shape(table["index"])[:1]
            examples = self.transform.load(self.transform.draws(table))
            weight = tf.ones(self.shard.size)
            return table | examples | {"weight": weight, "epoch": tf.broadcast_to(table["epoch"], rows)}

        return prefetched(self._parallel_map(self._tables(epochs, start_step), loaded), self.parallelism)

    def finish(self, loaded: Batch) -> Batch:
        """Returns the batch of an element, or of a part of its rows.

        Where images are resized or cropped, pixels differ from those made on the host by up to 0.1 of 255 levels.
        AutoAugment and RandAugment round these and have thresholds: with them, fewer than one pixel in a thousand
        differs by more, mostly by 1 level, but by up to 16 where levels are posterized.
        """
        weight, table = loaded["weight"], {**loaded, "epoch": loaded["epoch"][0]}
        examples = {"image": tf.cast(table.pop("image"), tf.float32), "label": table.pop("label")}
        shard = Shard(weight.shape[0])
        with resizing.device_operators():
            made = self.transform.finish(examples, table, shard)
        return made | {"weight": weight, "index": table["index"][: shard.size]}
