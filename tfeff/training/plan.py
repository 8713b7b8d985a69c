"""What a run does: resolved once, where it starts or is opened, and the parts that are built from it."""

import dataclasses
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, models, reports, selection
from tfeff.data.augment import given
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.order import ClassBalanced, Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.errors import UserError, nearest
from tfeff.models import presets
from tfeff.networks.backbones.architecture import Architecture
from tfeff.networks.backbones.given import Given
from tfeff.networks.detectors.detector import Detector
from tfeff.networks.detectors.rcnn import RCNN
from tfeff.proposals import ProposalStore
from tfeff.proposals.store import lookup
from tfeff.tasks.task import ImageTask, Progress, Role, Task
from tfeff.training import checkpoint, distribution, optimizers
from tfeff.training.averaging import Average
from tfeff.training.features import split
from tfeff.training.freezing import freeze, unfrozen_at
from tfeff.training.step import FittedStep, Step
from tfeff.training.workdir import CHOSEN, Workdir

_STATISTICS = 512  # training images for the statistics of batch normalization
_TOGETHER = 64  # of them, normalized together


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run does.

    Attributes:
        settings: the experiment, with all values that were chosen for its images.
        images: which images it uses; with its task.
        network: the description of its network.
        class_names: of its images; none as long as they are not known.
        precision: the dtype policy; `auto` as long as none was chosen.
    """

    settings: config.Experiment
    images: selection.Request
    network: Architecture | Detector | RCNN
    class_names: tuple[str, ...] = ()
    precision: str = "auto"

    @classmethod
    def of(cls, settings: config.Experiment) -> "Plan":
        """The plan of an experiment, before its images are known."""
        return cls(settings, selection.request(settings), settings.description, precision=settings.training.precision)

    @classmethod
    def opened(cls, workdir: Workdir) -> "Plan":
        """The plan of a run that has begun."""
        return cls.of(workdir.config()).learned(workdir.dataset())

    def learned(self, record: dict[str, Any]) -> "Plan":
        """The plan, with what it takes from the training images.

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
        """The plan as it is after `epoch` epochs: what is unfrozen by then is unfrozen from the beginning."""
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

    def check(self, replicas: int, *, new_run: bool) -> None:
        """Reports errors that would otherwise occur only after all images are read, or after training.

        Args:
            replicas: number of devices that share a batch, over all workers.
            new_run: whether this is a new run; resumed runs do not need the initial weights.

        Raises:
            UserError: an impossible network, missing weights, an augmentation that is missing, patterns of optimizer
                settings that match nothing or that `optimizer.transfer` chooses, a shift beyond the image, or a batch
                that the devices cannot share.
        """
        settings, training, update, task = self.settings, self.training, self.update, self.task
        reports.evaluator(task.kind)
        task.check(self.network.resolution)
        if new_run:
            self._check_weights()
        if settings.data.augment is not None:
            given.find(settings.data.augment)
        if isinstance(settings.model, Given):
            presets.find(settings.model.source)
        parts = replicas * training.accumulation_steps
        if training.batch_size % parts:
            raise UserError(
                f"config: training.batch_size is {training.batch_size}; it should be a multiple of {parts} "
                f"({replicas} devices x training.accumulation_steps)"
            )
        metrics = *task.means(task.zero_sums()), *(name for name in task.scores if name not in task.tuned)
        if training.monitor not in metrics:
            raise UserError(f"config: training.monitor is {training.monitor!r}; {nearest(training.monitor, metrics)}")
        if settings.task.images_drawn_together is not None:
            self._check_classes_in_batches(settings.task.images_drawn_together, parts)
        if training.xla and replicas > 1:
            raise UserError("config: training.xla supports only a single device; set it to false")
        if update.unfreeze and distribution.worker_count() > 1:
            raise UserError("config: optimizer.unfreeze: several workers are not supported; use one")
        if training.recompute_statistics and task.stored is not None:
            raise UserError(
                "config: training.recompute_statistics: the task trains on stored features; set it to false"
            )
        if settings.task.teachers and (training.feature_variants is not None or training.rematerialize):
            raise UserError(
                "config: task.teacher sees the images of each batch: remove training.feature_variants and "
                "training.rematerialize"
            )
        for name in settings.task.teachers:
            if name not in models.names() and not Workdir(name).final.is_file():
                raise UserError(
                    f'config: task.teacher.runs: "{name}": no finished run; give the workdir of a tfeff.train run'
                )
        if settings.data.unlabeled is not None and not settings.task.teachers:
            raise UserError("config: data.unlabeled: images without labels need a teacher; set task.teacher.runs")
        if settings.data.unlabeled is not None and replicas > 1:
            raise UserError("config: data.unlabeled: several devices are not supported; use one")
        if training.quantization is not None:
            self._check_quantization(replicas)
        if update.transfer is not None and update.frozen:
            raise UserError(
                "config: optimizer.transfer=auto chooses optimizer.frozen, which is set; remove one of them"
            )
        if update.transfer is not None and distribution.worker_count() > 1:
            raise UserError(
                "config: optimizer.transfer: several workers are not supported; set optimizer.frozen instead"
            )
        if new_run and (update.frozen or update.unfreeze or update.learning_rate_factors or training.feature_variants):
            # The patterns refer to paths, which depend on neither classes nor statistics: those need the data.
            network = self._frozen_network(replicas)
            if update.unfreeze:
                self.in_phase(training.epochs)._frozen_network(replicas)
            if training.feature_variants is not None and update.transfer is None and split(network) is None:
                raise UserError(
                    "config: training.feature_variants: the first layers of the network are trained; freeze them with "
                    "optimizer.frozen, such as stem*,stage*"
                )

    def _check_classes_in_batches(self, together: int, parts: int) -> None:
        """Checks that each part of a batch holds several classes, with all images that are drawn together."""
        size, data = self.training.batch_size, self.settings.data
        if size % (parts * together) or size == parts * together:
            divided = f" in {parts} parts (devices x training.accumulation_steps)" if parts > 1 else ""
            raise UserError(
                f"config: training.batch_size is {size}{divided}; with {together} images of a class drawn together "
                f"(task.images_per_class), it should be a multiple of {parts * together}, at least "
                f"{2 * parts * together}, so that there are several classes to compare"
            )
        if data.class_balanced:
            raise UserError(
                "config: data.class_balanced: task.images_per_class draws all classes equally often, too; set it to "
                "false"
            )

    def _check_quantization(self, replicas: int) -> None:
        training, task = self.training, self.settings.task
        excluded = {
            "training.rematerialize": training.rematerialize,
            "training.feature_variants": training.feature_variants is not None,
            "training.swa_epochs": training.swa_epochs is not None,
            "training.xla": training.xla,
            "optimizer.transfer": self.update.transfer is not None,
            "task.teacher.features": task.imitates_features,
        }
        where = "config: training.quantization"
        for key, wanted in excluded.items():
            if wanted:
                raise UserError(f"{where} does not go with {key}; remove one of them")
        if training.precision not in ("auto", "float32"):
            raise UserError(f"{where} computes in float32; set training.precision=float32")
        if replicas > 1:
            raise UserError(f"{where}: several devices are not supported; set training.strategy=single")
        if task.CUTS_REGIONS or task.fitted or getattr(self.network, "regions", None) is not None:
            raise UserError(f"{where}: task.name={task.name} is not supported, whose network reads regions")
        if not self.settings.model.starts_trained:
            raise UserError(f"{where} fine-tunes a trained network; set model.weights to the workdir of a finished run")

    def _check_weights(self) -> None:
        source = self.settings.model.weights
        if source is not None and models.published(self.settings.model) is None:
            _ = weights_file(source)
        if self.settings.task.CUTS_REGIONS and not self.settings.model.starts_trained:
            raise UserError(
                "config: model.weights: the backbone is frozen and needs weights. Train it as a classifier of the "
                "objects, and give its workdir:\n"
                "  python -m tfeff.train --config=... --workdir=BACKBONE "
                f"--config.data.source=crops:{self.settings.data.source}\n"
                "  python -m tfeff.train --config=... --workdir=... --config.model.weights=BACKBONE"
            )

    def _frozen_network(self, replicas: int) -> keras.Model:
        """A network for any data, frozen as in the first phase of a run; its optimizer can be created."""
        network = self.build_network()
        self.build_optimizer(network, replicas)
        return network

    def build_network(self) -> models.Network:
        """Builds the randomly initialized network under the current dtype policy and strategy."""
        # Keras draws the seeds of initializers and dropout from Python's generator. keras.utils.set_random_seed would
        # also seed TensorFlow's generator, which is not used here, and cause all functions to be compiled again.
        random.seed(self.settings.seed)
        channels = self.settings.data.channels
        return self.task.network(self.network, num_classes=self.num_classes, channels=channels)

    def load_weights(
        self, network: keras.Model, images: ImageCache | None = None, progress: Progress = lambda _, __, ___: None
    ) -> models.LoadReport | models.Inheritance | None:
        """Loads the initial weights, if any; reports what was loaded and what did not fit.

        Args:
            images: the training images, which an inheritance is fitted on; None: drawn ones.
            progress: of an inheritance.

        Raises:
            UserError: for a missing file, a file in which nothing fits, or a failed download.
        """
        model, trained = self.settings.model, None
        if model.weights is not None and models.published(model) is None:
            run = Workdir(model.weights)
            trained = run.config().model if run.final.is_file() else None
            model = dataclasses.replace(model, weights=str(weights_file(model.weights)))
        loaded = models.initialize(
            network,
            model,
            lambda: self._sample(images, network),
            trained=trained,
            progress=lambda done, total: progress("inherited weights", done, total),
        )
        if self.training.recompute_statistics and images is not None:
            some = self._sample(images, network, count=_STATISTICS)
            assert some is not None  # `check` requires a task that reads whole images
            models.recompute_statistics(network, np.array_split(some, -(-len(some) // _TOGETHER)))
        return loaded

    def _sample(
        self, images: ImageCache | None, network: models.Network, count: int = models.INHERITANCE_IMAGES
    ) -> np.ndarray | None:
        """Some of the images, as the network takes them in evaluation; None if it takes parts of them."""
        if images is None or self.task.stored is not None:
            return None
        count = min(len(images), count)
        some = images.take(np.random.default_rng(0).permutation(len(images))[:count])
        batches = self.evaluation_pipeline(some, network.size).evaluation_batches()
        found: np.ndarray = np.concatenate([np.asarray(batch["image"], np.float32) for batch in batches])[:count]
        return found

    def build_optimizer(self, network: keras.Model, replicas: int) -> keras.optimizers.Optimizer:
        """Freezes parts of the network, if the config says so, and creates the optimizer of the rest, under the current
        dtype policy and strategy."""
        section = self.update
        freeze(network, section.frozen, [pattern for epoch, pattern in section.unfreezing() if epoch == 0])
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
            clip_norm=section.clip_norm,
            replicas=replicas,
            loss_scaling=keras.mixed_precision.dtype_policy().name == "mixed_float16",
        )

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
        )

    def batches(
        self,
        images: ImageCache,
        network: keras.Model,
        role: Role,
        progress: Progress,
        worker: tuple[int, int] = (0, 1),
    ) -> Any:
        """The batches of a role: of images, or those that the task reads from a store (see `StoredTraining`).

        Args:
            images: of the role.
            network: takes them.
            role: training batches are shuffled and augmented.
            progress: of a store.
            worker: (index, count).
        """
        seed, batch_size = self.settings.seed, self.training.batch_size
        stored = self.task.stored
        if stored is not None:
            return stored.batches(network, images, role, seed=seed, batch_size=batch_size, progress=progress)
        pipeline = self.training_pipeline if role == "training" else self.evaluation_pipeline
        return pipeline(images, network.size, worker)

    def training_pipeline(
        self,
        images: ImageCache,
        size: tuple[int, int],
        worker: tuple[int, int] = (0, 1),
        batch_size: int | None = None,
    ) -> Batches:
        """Shuffled, augmented batches at the network's `size`; `worker` is (index, count)."""
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
        )

    def evaluation_pipeline(
        self, images: ImageCache, size: tuple[int, int], worker: tuple[int, int] = (0, 1)
    ) -> Batches:
        """Every image once, in order, at the network's `size`."""
        return Batches(self.transform(images, size), self.training.batch_size, shard=worker)

    def transform(self, images: ImageCache, size: tuple[int, int]) -> Transform:
        """What happens to images on their way to the network."""
        plain = self.settings.task.plain_epochs
        plain_from = self.training.epochs - plain if plain else None
        proposals = None
        if self.task.proposals is not None:  # `selection.cache` stored them
            proposals = lookup(ProposalStore(self.task.proposals.store), images.dataset.ids)
        return self.task.transform(Reader(images, proposals), size, seed=self.settings.seed, plain_from=plain_from)


def weights_file(source: str) -> Path:
    """The file of `model.weights`: itself, or the final weights of a finished run.

    Raises:
        UserError: the file does not exist, or the run has not finished.
    """
    run = Workdir(source)
    if (run.path / "config.json").is_file() and not run.final.is_file():
        raise UserError(f"config: model.weights: the run in {source} is not finished; rerun its tfeff.train command")
    path = run.final if run.final.is_file() else Path(source)
    if not models.is_weights_file(path):
        raise UserError(f"config: model.weights: no file and no finished run {source}")
    return path


def statistics_of(source: str | None) -> dict[str, Any]:
    """`mean` and `std` of the run whose weights a network starts from; empty if `source` is not a run."""
    if source is None or not Workdir(source).final.is_file():
        return {}
    record = Workdir(source).dataset()
    return {key: record[key] for key in ("mean", "std")}


def trained_model(workdir: Workdir, precision: str = "float32", plan: Plan | None = None) -> keras.Model:
    """Builds the network of a finished run with its final weights.

    Args:
        workdir: the workdir of the run.
        precision: dtype policy to set, independent of the policy in training.
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
    keras.mixed_precision.set_dtype_policy(precision)
    plan = plan or Plan.opened(workdir)
    network = plan.build_network()
    loaded = models.load_weights(network, {name.removeprefix("model/"): array for name, array in arrays.items()})
    if loaded.skipped:
        raise UserError(f"{workdir.final} does not fit the network of config.json: {loaded.skipped[0]}")
    plan.task.calibrate(network, workdir.validated(plan.task.scores))
    return network
