"""What a run does: resolved once, where it starts or is opened, and the parts that are built from it."""

import dataclasses
import difflib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, models, selection
from tfeff.data.augment import given
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.order import ClassBalanced, Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.data.sources.crops import BACKGROUND
from tfeff.errors import UserError
from tfeff.models import presets
from tfeff.models.network import in_policy, seeded
from tfeff.networks.backbones.architecture import Architecture
from tfeff.networks.backbones.preset import Preset
from tfeff.networks.catalog import ALL_BACKBONES, own_statistics
from tfeff.networks.detectors.detector import Detector
from tfeff.networks.detectors.rcnn import RCNN
from tfeff.networks.preprocessing import per_channel
from tfeff.proposals import ProposalStore
from tfeff.proposals.store import lookup
from tfeff.tasks.task import ImageTask, Progress, Role, Task
from tfeff.training import checkpoint, distribution, optimizers
from tfeff.training.averaging import Average
from tfeff.training.freezing import freeze, unfrozen_at
from tfeff.training.parametrization import Parametrization, narrow, parametrization
from tfeff.training.resolutions import Resolutions
from tfeff.training.step import FittedStep, Step
from tfeff.training.workdir import CHOSEN, Workdir, run_of

_STATISTICS = 512  # training images for the statistics of batch normalization
_TOGETHER = 64  # of them, normalized together


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run does.

    Attributes:
        settings: the experiment, with all values that were chosen for its images.
        images: which images it uses; with its task.
        network: the description of its network.
        class_names: names of the classes; empty as long as the images are not known.
        precision: the dtype policy; `auto` as long as none was chosen.
    """

    settings: config.Experiment
    images: selection.Request
    network: Architecture | Detector | RCNN
    class_names: tuple[str, ...] = ()
    precision: str = "auto"

    @classmethod
    def of(cls, settings: config.Experiment, workdir: Workdir | None = None) -> "Plan":
        """Returns the plan of an experiment, before its images are known; a run that trains gives its workdir."""
        images = selection.request(settings, None if workdir is None else workdir.unreadable)
        return cls(settings, images, settings.description, precision=settings.training.precision)

    @classmethod
    def opened(cls, workdir: Workdir) -> "Plan":
        """Returns the plan of a run that has begun."""
        return cls.of(workdir.config()).learned(workdir.dataset())

    def measured(self, images: selection.TrainingData) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Returns the record of a new run for `learned`, and what the user should know, one line each.

        If `model.weights` is a run, its `mean` and `std` are those of the network.
        """
        fields, notes = self.task.measured(images.train.dataset, self.network)
        if isinstance(self.settings.model, Preset):
            notes += presets.notes(self.settings.model.name)
        return images.record() | {"measured": fields} | _statistics_of(self.settings.model.weights), notes

    def learned(self, record: dict[str, Any]) -> "Plan":
        """Returns the plan, with what it takes from the training images.

        Args:
            record: the workdir's `dataset.json`. Its `mean` and `std`, if any, normalize the network's input; its
                `measured` replaces fields of the network (`ImageTask.measured`), and `CHOSEN` replaces settings.
        """
        settings = config.replaced(self.settings, record.get(CHOSEN, {}))
        backbone = dataclasses.replace(settings.model, weights=None)
        if record["mean"]:
            backbone = dataclasses.replace(backbone, mean=tuple(record["mean"]), std=tuple(record["std"]))
        measured = record.get("measured", {}).items()
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in measured}
        network = dataclasses.replace(settings.task.describe(backbone), **fields)
        return dataclasses.replace(self, settings=settings, network=network, class_names=tuple(record["class_names"]))

    def in_phase(self, epoch: int) -> "Plan":
        """Returns the plan as it is after `epoch` epochs: what is unfrozen by then is unfrozen from the beginning."""
        update = unfrozen_at(self.update, epoch)
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, optimizer=update))

    @property
    def task(self) -> ImageTask:
        """What the network is trained for."""
        return self.images.task

    @property
    def num_classes(self) -> int:
        """Number of classes; 1 as long as they are not known."""
        return max(1, len(self.class_names))

    @property
    def update(self) -> config.Optimizer:
        """How weights are updated, and which ones."""
        return self.settings.optimizer

    @property
    def training(self) -> config.Training:
        """Length, batches, validation and what is kept."""
        return self.settings.training

    @property
    def unlabeled_batch_size(self) -> int:
        """Images without labels in each batch, if the run has any."""
        return max(1, round(self.training.batch_size * self.settings.data.unlabeled_per_label))

    def build_network(self) -> models.Network:
        """Builds the randomly initialized network under the current dtype policy and strategy."""
        channels = self.settings.data.channels
        with seeded(self.settings.seed):
            return self.task.network(self.network, num_classes=self.num_classes, channels=channels)

    def load_weights(
        self, network: keras.Model, images: ImageCache | None = None, progress: Progress = lambda _, __, ___: None
    ) -> models.LoadReport | models.Inheritance | None:
        """Loads the initial weights, if any; reports what was loaded and what did not fit.

        Args:
            images: the training images, which an inheritance is fitted on; None: drawn ones.
            progress: called with (what, done, total) while weights are inherited from another network.

        Raises:
            UserError: for a missing file, a file in which nothing fits, or a failed download.
        """
        if (mup := self._mup(network)) is not None:
            for variable in network.trainable_variables:
                variable.assign(variable * mup.initial[variable.path])
        model, trained = self.settings.model, None
        if model.weights not in (None, models.COCO) and models.published(model) is None:
            file, run = weights_file(model.weights), run_of(model.weights)
            if run is not None:
                theirs = Plan.opened(run)
                trained = models.Trained(theirs.network, theirs.num_classes, theirs._output_names or None)
            model = dataclasses.replace(model, weights=str(file))
        loaded = models.initialize(
            network,
            model,
            lambda: self._sample(images, network),
            trained=trained,
            num_classes=self.num_classes,
            class_names=self._output_names,
            progress=lambda done, total: progress("inherited weights", done, total),
        )
        self._require_used(network)
        if self.training.recompute_statistics and images is not None:
            some = _some(images, _STATISTICS)
            parts = np.array_split(some, -(-len(some) // _TOGETHER))
            try:
                models.recompute_statistics(network, (self.inputs(images.take(part), network.size) for part in parts))
            except UserError as error:
                raise UserError(f"config: training.recompute_statistics: {error}; set it to false") from None
        return loaded

    def _require_used(self, network: models.Network) -> None:
        """Refuses a mean that was set, and that the network does not take, because its weights come with their own."""
        model, found = self.settings.model, models.standardization(network)
        if model.weights is None or found is None or "mean" not in own_statistics(model):
            return
        mean, _ = found
        if not np.allclose(mean, per_channel(model.mean, len(mean)), rtol=1e-4):
            raise UserError(f'config: model.mean: omit it: the network takes that of the weights "{model.weights}"')

    @property
    def _output_names(self) -> tuple[str, ...]:
        """Names of the outputs for classes; a sliding window has the classifier of crops, whose last is background."""
        windows = isinstance(self.network, RCNN) and self.network.head == "sliding_window"
        return (*self.class_names, BACKGROUND) if windows and self.class_names else self.class_names

    def _sample(self, images: ImageCache | None, network: models.Network) -> np.ndarray | None:
        """Returns some of the images, as the network takes them in evaluation; None if it takes parts of them."""
        if images is None or self.task.stored is not None:
            return None
        return self.inputs(images.take(_some(images, models.INHERITANCE_IMAGES)), network.size)

    def inputs(self, images: ImageCache, size: tuple[int, int]) -> np.ndarray:
        """Returns images as the network takes them in evaluation, float32 [n, height, width, channels]."""
        found = [np.asarray(batch["image"], np.float32) for batch in self.one_by_one(images, size)]
        return np.concatenate(found)

    def one_by_one(self, images: ImageCache, size: tuple[int, int]) -> tf.data.Dataset:
        """Returns every image once, in order, in a batch of its own: a few images do not need a padded batch."""
        return Batches(self.transform(images, size), 1).evaluation_batches()

    def build_optimizer(self, network: keras.Model) -> keras.optimizers.Optimizer:
        """Freezes layers as configured; creates the optimizer of the rest under the current policy and strategy."""
        section = self.update
        freed = [pattern for epoch, pattern in section.unfreezing() if epoch == 0]
        paths = [variable.path for variable in network.trainable_variables]
        freeze(network, section.frozen, freed, normalization=section.freeze_normalization)
        return optimizers.build(
            section.name,
            network,
            momentum=section.momentum,
            nesterov=section.nesterov,
            decay=section.decay,
            beta_2=section.beta_2,
            epsilon=section.epsilon,
            initial_accumulator=section.initial_accumulator,
            weight_decay=section.weight_decay,
            decay_biases=section.weight_decay_biases,
            l2=section.weight_decay_kind == "l2",
            learning_rate_factors=section.factors(),
            later=[path for path in paths if any(fnmatchcase(path, each) for _, each in section.unfreezing())],
            rates={} if (mup := self._mup(network)) is None else mup.rates,
            clip_norm=section.clip_norm,
            loss_scaling=keras.mixed_precision.dtype_policy().name == "mixed_float16",
        )

    def _mup(self, network: models.Network) -> Parametrization | None:
        """Returns what `optimizer.parametrization=mup` changes in the network; None without it."""
        if self.update.parametrization != "mup":
            return None
        assert isinstance(self.network, Architecture)  # see `checks.check`
        return parametrization(network, self.network, self._narrower, normalizes=self.update.name != "sgd")

    @cached_property
    def _narrower(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the variables of the network whose width coefficient is 1, by path."""
        assert isinstance(self.network, Architecture)
        described, channels = narrow(self.network), self.settings.data.channels
        with seeded(self.settings.seed):
            network = self.task.network(described, num_classes=self.num_classes, channels=channels)
        return {each.path: tuple(each.shape) for each in network.trainable_variables}

    def build_step(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy | None = None,
        average: Average | None = None,
        rest: keras.Model | None = None,
        task: Task | None = None,
    ) -> Step:
        """Creates the compiled training and evaluation steps.

        Args:
            rest: the part of the network that runs on features of its frozen part; None: all of it.
            task: the run's task with its teachers (`teachers.taught`); None: without.
        """
        training = self.training
        return (FittedStep if self.settings.task.fitted else Step)(
            network,
            optimizer,
            strategy or tf.distribute.get_strategy(),
            task=task or self.task,
            batch_size=training.batch_size,
            accumulation_steps=training.accumulation_steps,
            rematerialize=training.rematerialize,
            quantize=training.quantization is not None,
            average=average,
            xla=training.xla,
            rest=rest,
            resolutions=self.resolutions(network),
        )

    def resolutions(self, network: models.Network) -> Resolutions | None:
        """Returns a network at the resolutions of the training; None if it trains at its own.

        Raises:
            UserError: the network cannot be trained at others.
        """
        factors = self.training.resolution_factors
        try:
            return Resolutions(network, factors, self.settings.seed) if factors else None
        except UserError as error:
            raise UserError(f"config: training.resolution_factors: {error}") from None

    def batches(
        self,
        images: ImageCache,
        network: keras.Model,
        role: Role,
        progress: Progress,
        worker: tuple[int, int] = (0, 1),
    ) -> Any:
        """Returns the batches of a role: of images, or those that the task reads from a store (see `StoredTraining`).

        Args:
            images: the images that the role uses.
            network: the network that takes them.
            role: training batches are shuffled and augmented.
            progress: called with (what, done, total) while a store is filled.
            worker: (index, number of workers).
        """
        seed, batch_size = self.settings.seed, self.training.batch_size
        stored = self.task.stored
        if stored is not None:
            return stored.batches(network, images, role, seed=seed, batch_size=batch_size, progress=progress)
        if role == "training":
            return self.training_pipeline(images, network.size, worker)
        if role == "validation":  # all devices share each batch
            together = batch_size // self.training.accumulation_steps
            return Batches(self.transform(images, network.size), together, shard=worker)
        return self.evaluation_pipeline(images, network.size)

    def training_pipeline(
        self,
        images: ImageCache,
        size: tuple[int, int],
        worker: tuple[int, int] = (0, 1),
        batch_size: int | None = None,
    ) -> Batches:
        """Returns shuffled, augmented batches at the network's `size`; `worker` is (index, count)."""
        data, seed = self.settings.data, self.settings.seed
        varied = self.transform(images, size)
        varied.given = None if data.augment is None else given.find(data.augment)
        together = self.settings.task.images_drawn_together or (1 if data.class_balanced else None)
        labels, count = images.dataset.labels, len(images)
        return Batches(
            varied,
            batch_size or self.training.batch_size,
            order=Shuffled(count, seed) if together is None else ClassBalanced(labels, seed, together),
            shard=worker,
            variants=self.settings.task.teacher_variants,
        )

    @property
    def evaluation_batch_size(self) -> int:
        """Images that one device takes at once: as many as in training, where devices and steps divide a batch."""
        parts = self.training.accumulation_steps * distribution.replicas(self.training.strategy)
        return max(1, self.training.batch_size // parts)

    def evaluation_pipeline(self, images: ImageCache, size: tuple[int, int]) -> Batches:
        """Returns every image once, in order, at the network's `size`, in batches for one device."""
        return Batches(self.transform(images, size), self.evaluation_batch_size)

    def transform(self, images: ImageCache, size: tuple[int, int]) -> Transform:
        """Returns what happens to images on their way to the network."""
        plain = self.settings.task.plain_epochs
        plain_from = self.training.epochs - plain if plain else None
        proposals = None
        if self.task.proposals is not None:  # `selection.cache` stored them
            proposals = lookup(ProposalStore(self.task.proposals.store), images.dataset)
        return self.task.transform(Reader(images, proposals), size, seed=self.settings.seed, plain_from=plain_from)


def _some(images: ImageCache, count: int) -> np.ndarray:
    """Returns the positions of at most `count` images, always the same ones."""
    return np.random.default_rng(0).permutation(len(images))[:count]


def weights_file(source: str) -> Path:
    """Returns the file of `model.weights`: itself, or the final weights of a finished run.

    Raises:
        UserError: the file does not exist, or the run has not finished.
    """
    run = Workdir(source)
    if (run.path / config.RUN_FILE).is_file() and not run.final.is_file():
        raise UserError(f"config: model.weights: the run in {source} is not finished; rerun its tfeff.train command")
    path = run.final if run.final.is_file() else run.path
    if not models.is_weights_file(path):
        close = difflib.get_close_matches(source, ("imagenet", models.COCO, *ALL_BACKBONES), n=1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise UserError(f"config: model.weights: no file and no finished run {source}{hint}")
    return path


def _statistics_of(source: str | None) -> dict[str, Any]:
    """Returns `mean` and `std` of the run whose weights a network starts from; empty if `source` is not a run."""
    run = None if source is None else run_of(source)
    if run is None:
        return {}
    record = run.dataset()
    return {key: record[key] for key in ("mean", "std")}


def trained_model(workdir: Workdir, plan: Plan | None = None) -> keras.Model:
    """Builds the network of a finished run with its final weights, in float32.

    Args:
        workdir: the workdir of the run.
        plan: the plan of the run, if it is already open.

    Raises:
        UserError: if the run is not finished.
    """
    if not workdir.final.is_file():
        raise UserError(f"--workdir={workdir.path}: the run is not finished; rerun its tfeff.train command")
    try:
        arrays, _ = checkpoint.load(workdir.final)
    except UserError as error:
        raise UserError(f"{error}; delete it and rerun tfeff.train to restore it from the last checkpoint") from None
    plan = plan or Plan.opened(workdir)
    with in_policy("float32"):
        network = plan.build_network()
    loaded = models.load_weights(network, {name.removeprefix("model/"): array for name, array in arrays.items()})
    if loaded.skipped:
        raise UserError(f"{workdir.final} does not fit the network of config.json: {loaded.skipped[0]}")
    plan.task.calibrate(network, workdir.validated(plan.task.scores))
    return network
