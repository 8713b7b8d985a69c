"""Training on stored outputs of teachers.

The augmentation repeats after some epochs (`Batches.variants`), so there are only that many variants of each image.
What teachers make of them is computed once. A file in the workdir keeps it for each variant until the run is finished,
so that a killed run resumes without computing it again.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfeff.data.input.batches import Batches, prefetched
from tfeff.data.input.cache import ImageCache
from tfeff.errors import UserError
from tfeff.tasks.task import Batch
from tfeff.training import checkpoint, stored
from tfeff.training.checkpoint import DamagedError
from tfeff.training.distillation import STORED, Distilled
from tfeff.training.interruption import Interruption
from tfeff.training.progress import Reporter
from tfeff.training.stored import FeatureCache

KEY = "task.teacher.variants"


class TaughtBatches:
    """Training batches of images with the targets of teachers.

    An element holds the tensors of a batch of images, and targets under names that begin with `distillation.STORED`.

    Args:
        batches: the images, whose augmentation repeats after `batches.variants` epochs.
        task: the task, with its teachers.
        directory: folder of the files that hold the targets.
        cache: targets of earlier runs.
        reporter: reports progress.
        interruption: checked while targets are computed.
        shares: compute the targets of one of this many equal parts of a batch at once, as teachers in training do.
    """

    def __init__(
        self,
        batches: Batches,
        task: Distilled,
        directory: Path,
        *,
        cache: FeatureCache,
        reporter: Reporter,
        interruption: Interruption,
        shares: int = 1,
    ) -> None:
        assert batches.variants is not None
        self._batches, self._variants, self._task, self._directory = batches, batches.variants, task, directory
        self._cache, self._reporter, self._interruption, self._shares = cache, reporter, interruption, shares
        self._compute = tf.function(task.targets, jit_compile=False, autograph=False)

    @property
    def images(self) -> ImageCache:
        """The images that batches are made of."""
        return self._batches.images

    @property
    def batch_size(self) -> int:
        """Images of a batch."""
        return self._batches.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return self._batches.steps_per_epoch

    @property
    def size(self) -> int:
        """Bytes of the targets of one image."""
        spec = self._batches.augmented_batches(0).element_spec
        targets = self._compute.get_concrete_function(spec).structured_outputs
        return sum(math.prod(each.shape[1:]) * each.dtype.size for each in targets.values())

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """See `Batches.training_batches`. What variants of these epochs lack is computed here."""
        targets, steps = self._targets(self.needed(epochs)), self.steps_per_epoch

        @tf.autograph.experimental.do_not_convert
        def with_targets(step: tf.Tensor, batch: Batch) -> Batch:
            variant = tf.cast(step // steps % self._variants, tf.int32)
            found = tf.switch_case(variant, [partial(_rows, each, batch["index"]) for each in targets])
            return {**batch, **{f"{STORED}{name}": value for name, value in found.items()}}

        batches = self._batches.training_batches(epochs, start_step).enumerate(start_step)
        return prefetched(batches.map(with_targets, num_parallel_calls=1))

    def needed(self, epochs: int) -> int:
        """Returns the number of variants in the first epochs."""
        return min(self._variants, epochs)

    def _targets(self, variants: int) -> list[Batch]:
        """Returns the teachers' targets for the first variants."""
        size, count = self.size * len(self.images), len(self.images)

        def targets(advance: Callable[[int], None]) -> list[Batch]:
            return [
                self._cache.get(self._path(variant).stem, size, partial(self._of_variant, variant, advance))
                for variant in range(variants)
            ]

        new = [path for path in map(self._path, range(variants)) if path.stem not in self._cache]
        if not new:
            return targets(lambda _: None)
        kept, several = sum(path.is_file() for path in new), f" in {len(new)} variant{'s' if len(new) > 1 else ''}"
        self._reporter.say(
            f"{'computing' if kept < len(new) else 'reading'} the outputs of teachers for {count:,} images of "
            f"{self.images.dataset.name}{several}" + (f"; {self._directory} has {kept} of them" if kept else "")
        )
        with self._reporter.computing("outputs of teachers", len(new) * count) as advance:
            return targets(advance)

    def _path(self, variant: int) -> Path:
        return self._directory / f"{self._fingerprint}_{variant}.npz"

    def _of_variant(self, variant: int, advance: Callable[[int], None]) -> Batch:
        """Returns the targets of a variant, from its file if there is one."""
        count, path = len(self.images), self._path(variant)
        if path.is_file():
            try:
                arrays, _ = checkpoint.load(path)
                advance(count)
                return stored.tensors(arrays)
            except DamagedError as error:
                self._reporter.say(f"{error}; computed again")

        batches = self._batches.divided(self._shares).augmented_batches(variant)
        arrays = stored.of_variants(1, count, lambda _: stored.computed(batches, self._compute_batch, advance))
        self._directory.mkdir(exist_ok=True)
        checkpoint.save(path, arrays, {})
        return stored.tensors(arrays)

    def _compute_batch(self, batch: Batch) -> Batch:
        self._interruption.check("outputs of teachers are saved for each finished variant of the images")
        targets: Batch = self._compute(batch)
        return targets

    @cached_property
    def _fingerprint(self) -> str:
        """Everything that the targets of a variant depend on, besides its number."""
        transform = self._batches.transform
        given = None if transform.given is None else (transform.given.name, self._sample(transform.given.name))
        variation = transform.seed, transform.augmentation, given, self._task.imitation
        return stored.fingerprint(self._task.teachers, self._batches, variation)

    def _sample(self, name: str) -> str:
        """Returns a hash of the first augmented images, which changes with a function that was given in Python.

        Raises:
            UserError: the function makes other images of the same examples each time.
        """
        first, second = (
            next(iter(self._batches.augmented_batches(0).take(1)))["image"].numpy().tobytes() for _ in range(2)
        )
        if first != second:
            raise UserError(
                f"config: {KEY}: data.augment={name} makes other images of the same examples each time, so no outputs "
                "can be stored for them; draw random numbers only from the generator that it is given"
            )
        return hashlib.sha256(first).hexdigest()


def _rows(targets: Batch, index: tf.Tensor) -> Batch:
    return {name: tf.gather(value, index) for name, value in targets.items()}


def taught(parts: Sequence[Batches], epochs: int, *args: Any, **options: Any) -> list[TaughtBatches]:
    """Returns batches that are taken together, each with the targets of teachers.

    Args:
        parts: the first ones determine the steps of an epoch.
        epochs: number of epochs of the run.
        args, options: see `TaughtBatches`.

    Raises:
        UserError: as for `TaughtBatches`, or if the targets of all images are too large.
    """
    found = [TaughtBatches(each, *args, **options) for each in parts]
    steps = epochs * parts[0].steps_per_epoch
    needed = [each.needed(-(-steps // each.steps_per_epoch)) for each in found]
    images = {each.images.dataset.name: (len(each.images), count) for each, count in zip(found, needed, strict=True)}
    stored.check_size(KEY, "outputs of teachers", images, size=found[0].size)
    return found
