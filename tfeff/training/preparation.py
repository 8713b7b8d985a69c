"""Preparation of a run: its images, its network, and the state in which it starts or resumes."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, selection
from tfeff.data.dataset import Dataset
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.device_batches import DeviceBatches
from tfeff.data.sources import unlabeled
from tfeff.data.sources.source import Source
from tfeff.errors import UserError
from tfeff.execution import workers
from tfeff.models import standardization
from tfeff.networks.catalog import unchanged
from tfeff.tasks.task import BatchPredictor
from tfeff.training import agreement, checks, exposure, freezing, precision, schedules, transfer
from tfeff.training.agreement import Agreement
from tfeff.training.assembly import Assembly, AssemblyCache, assemble
from tfeff.training.checkpoint import Saved
from tfeff.training.distillation import Distilled
from tfeff.training.features import FeatureBatches
from tfeff.training.freezing import frozen_params
from tfeff.training.interruption import Interruption
from tfeff.training.loop import Pipeline
from tfeff.training.plan import Plan
from tfeff.training.progress import Reporter
from tfeff.training.resumption import restore, resume
from tfeff.training.state import State
from tfeff.training.step import Step
from tfeff.training.stopping import EarlyStopping
from tfeff.training.stored import FeatureCache
from tfeff.training.stored_teachers import taught
from tfeff.training.teachers import checksums
from tfeff.training.unlabeled import PlainFrom, WithUnlabeled, require_batch
from tfeff.training.validation import Scoring
from tfeff.training.workdir import Workdir

UNLABELED_SEED = 0x756E6C62
"""Changes the seed for images without labels, so that their order and augmentation differ from those of the others."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the loop needs.

    Attributes:
        plan: the run's plan, completed from the training images (classes, mean, anchors).
        state: the state at the start of training, or the restored one.
        step: the compiled steps.
        training: the training batches.
        validation: the validation batches, if any.
        scoring: computes the task's `scores` on all validation images, if there are any.
        until: epoch at which the phase, or the call, ends.
    """

    plan: Plan
    state: State
    step: Step
    training: Pipeline
    validation: Batches | FeatureBatches | None
    scoring: Scoring | None
    until: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Preparation:
    """Preparation of the phases of a run, one after the other.

    Attributes:
        plan: the run's plan, before its images are known.
        workdir: the workdir, claimed for the run.
        strategy: distribution strategy.
        until_epoch: last epoch of this call; None: the last one of the run.
        source: see `train`.
        caches: see `train`.
        assemblies: see `train`.
        features: see `train`.
        reporter: reports progress.
        interruption: checked while images are read, features are computed and precisions are timed.
        agreement: of the workers of the run.
    """

    plan: Plan
    workdir: Workdir
    strategy: tf.distribute.Strategy
    agreement: Agreement
    until_epoch: int | None
    source: Callable[[], Source] | None
    caches: selection.SplitCaches | None
    assemblies: AssemblyCache | None
    features: FeatureCache
    reporter: Reporter
    interruption: Interruption

    @cached_property
    def images(self) -> selection.TrainingData:
        """The images to train and validate on, the same in all phases; says what the user should know about them."""
        wanted, caches = self.plan.images, self._splits
        images = selection.choose(wanted, caches)
        if images.validation is not None:
            wanted.task.check_validation(images.validation.dataset)
        if caches.validation is None and images.validation is not None:
            held, data = len(images.validation), wanted.data
            why = f"data.fold={data.fold}" if data.folds else f"data.validation_fraction={data.validation_fraction:g}"
            self.reporter.say(f"{held:,} images of train are held out to validate on ({why})")
        for note in images.notes:
            self.reporter.note(note)
        return images

    def _with_oddities(self, images: selection.TrainingData) -> selection.TrainingData:
        """Says what is odd about the images of a new run, and adds it to their notes."""
        if self.caches is not None:  # many trainings share the images
            return images
        others = self._held_out
        odd = [*selection.notes(images.train.dataset, others)]
        for role, dataset in others.items():
            odd += exposure.notes(self.plan.settings.sources, dataset, role)
        for note in odd:
            self.reporter.note(note)
        return dataclasses.replace(images, plan_notes=(*images.plan_notes, *odd))

    @cached_property
    def _splits(self) -> selection.SplitCaches:
        if self.caches is not None:
            return self.caches
        wanted = self.plan.images
        opened = self.source() if self.source else selection.open_source(wanted)
        found = selection.check(wanted, opened)
        self.reporter.found(found)
        return selection.read(wanted, self._reading, source=opened, checked=found)

    @cached_property
    def _held_out(self) -> dict[str, Dataset]:
        """The images that the run is judged by, as far as it reads them: role -> images."""
        validation = selection.validation_images(self.plan.images, self._splits)
        found = {"validation": validation and validation.dataset, "test": self._splits.test}
        return {role: each for role, each in found.items() if each}

    @cached_property
    def unlabeled(self) -> ImageCache | None:
        """The images without labels to train on, if the run has any; says what they are."""
        wanted, data = self.plan.images, self.plan.settings.data
        if data.unlabeled is None:
            return None
        dataset = unlabeled.load(
            data.unlabeled.removeprefix("folder:"),
            self.images.class_names,
            data.channels,
            objects=self.images.train.dataset.has_objects,
            on_defect=data.on_defect,
        )
        self.reporter.say(f"{len(dataset):,} images without labels from {data.unlabeled}")
        if dataset.defects.counts:
            self.reporter.say(dataset.defects.text())
        for note in dataset.notes:
            self.reporter.say(note)
        for role, others in self._held_out.items():
            known = np.isin(dataset.origins, others.origins)
            if known.all():
                raise UserError(f"config: data.unlabeled: all images of {data.unlabeled} are {role} images")
            if known.any():
                dataset = dataset.take(np.flatnonzero(~known))
                self.reporter.say(f"{known.sum():,} of them are {role} images, which are left out")
        images = selection.cache(wanted, dataset, self.images.train.image_size, self._reading)
        for note in selection.skipped_note([each.id for each in images.skipped]):
            self.reporter.say(f"{data.unlabeled}: {note}")
        require_batch(self.plan, len(images))
        return images

    def prepare(self) -> Prepared | None:
        """Prepares the next phase; None if nothing is left to train.

        Raises:
            UserError: for invalid images or settings, or if workers have others.
            Interrupted: after Ctrl-C or SIGTERM.
        """
        plan = self.plan
        unfinished, saved = resume(
            self.workdir,
            epochs=plan.training.epochs,
            patience=plan.training.early_stopping_epochs,
            until_epoch=self.until_epoch,
            report=self.reporter.say,
        )
        if workers.worker_count() > 1:
            step = -1 if not unfinished else 0 if saved is None else saved.record["step"]
            config_sum = agreement.checksum_of_config(config.flatten(plan.settings))
            self.agreement.require_equal({agreement.CONFIG: config_sum, agreement.CHECKPOINT: step})
        if not unfinished:
            return None
        checks.check(plan, self.strategy.num_replicas_in_sync, new_run=saved is None)
        if saved is None:
            prepared = self._start(plan, self._with_oddities(self.images))
        else:
            prepared = self._resume(plan, self.images, saved)
        if workers.worker_count() > 1:
            image_sum = agreement.checksum_of_images(self.images.train.dataset)
            state_sum = agreement.checksum_of_arrays(prepared.state.arrays().values())
            self.agreement.require_equal({agreement.IMAGES: image_sum, agreement.STATE: state_sum})
        return prepared

    def _start(self, plan: Plan, images: selection.TrainingData) -> Prepared:
        """Returns a new run: what it takes from its images is found and recorded; the initial weights are loaded."""
        record = self._learn(plan, images)
        plan = plan.learned(record)
        replicas = self.strategy.num_replicas_in_sync
        policy = precision.select_policy(plan, self.reporter, self.interruption, replicas)
        plan = dataclasses.replace(plan, precision=policy)
        start, until = self._phase(plan, done=0)
        assembly = self._assemble(plan.in_phase(start))
        model, average = assembly.model, assembly.average
        with self.strategy.scope():
            loaded = plan.load_weights(model, images.train, self._fitting)
        if average is not None:
            average.restart()  # the parametrization and recomputed statistics change weights, too
        if loaded is not None:
            self.reporter.say(f"{plan.settings.model.weights}: {loaded}")
        if workers.is_chief():
            learned = [each.dataset.origins for each in (images.train, self.unlabeled) if each is not None]
            self.workdir.write_fingerprint(dataclasses.replace(self._fingerprint, trained=np.concatenate(learned)))
            self.workdir.write_dataset(record | _preprocessing(model))
        prepared = self._prepared(plan, images, assembly, until)
        if plan.task.stored is not None:
            plan.task.stored.start(
                model,
                prepared.training,
                loaded=() if loaded is None else loaded.loaded,
                seed=plan.settings.seed,
                report=self.reporter.say,
            )
            if average is not None:
                average.restart()
        return self._announced(prepared, images, assembly, start)

    def _resume(self, plan: Plan, images: selection.TrainingData, saved: Saved) -> Prepared:
        """Returns a run that has begun, with the same images, in the state of its last checkpoint."""
        source, record = plan.settings.data.source, self.workdir.dataset()
        remedy = "Restore them, or use another --workdir"
        self.workdir.fingerprint().require_unchanged(self._fingerprint, source, remedy)
        skipped = record["skipped_images"]
        if changed := sorted({*skipped} ^ {*images.skipped}):
            raise UserError(
                f"the images of {source} that cannot be read are not those that this run skipped when it began, such "
                f"as {changed[0]}: {len(skipped):,} then, {len(images.skipped):,} now. "
                "Resume with the same readable images, or use another --workdir"
            )
        if self.unlabeled is not None and len(self.unlabeled) != record["unlabeled_examples"]:
            raise UserError(
                f"{len(self.unlabeled):,} images of {plan.settings.data.unlabeled} can be read, but "
                f"{record['unlabeled_examples']:,} when this run began. Resume with the same readable images, or use "
                "another --workdir"
            )
        teachers = record.get("teachers", {})
        for name, checksum in checksums(plan).items():
            if teachers.get(name, checksum) != checksum:
                raise UserError(
                    f"config: task.teacher.runs: {name} has other weights than when this run began. Restore "
                    f"{Workdir(name).final}, or use another --workdir"
                )
        plan = plan.learned(record)
        plan = dataclasses.replace(plan, precision=saved.record["precision"])
        steps_per_epoch, step = saved.record["steps_per_epoch"], saved.record["step"]
        # An epoch that was not validated yet belongs to the phase before.
        start, until = self._phase(plan, done=step // steps_per_epoch - saved.record.get("pending", False))
        assembly = self._assemble(plan.in_phase(start))
        if plan.task.stored is not None:  # the frozen part computes the features of the batches
            for weight in assembly.model.weights:
                weight.assign(saved.arrays.get(f"model/{weight.path}", weight))
        prepared = self._prepared(plan, images, assembly, until)
        restore(prepared.state, saved, self.reporter.say, fresh_optimizer=0 < start * steps_per_epoch == step)
        return self._announced(prepared, images, assembly, start)

    def _learn(self, plan: Plan, images: selection.TrainingData) -> dict[str, Any]:
        """Returns what a new run takes from its images, for its `dataset.json`."""
        record, notes = plan.measured(images)
        for note in notes:
            self.reporter.say(note)
        if self.unlabeled is not None:
            record["unlabeled_examples"] = len(self.unlabeled)
        if teachers := checksums(plan):
            record["teachers"] = teachers
        if plan.update.transfer is not None:
            record |= transfer.choose(plan.learned(record), images, self.reporter, self.interruption)
        return record

    @property
    def _fingerprint(self) -> selection.Fingerprint:
        """The fingerprint of all images to train and validate on."""
        unlabeled = None if self.unlabeled is None else self.unlabeled.dataset
        others = selection.Fingerprint.of({selection.UNLABELED: unlabeled})
        return selection.Fingerprint({**self.images.fingerprint.splits, **others.splits})

    def _phase(self, plan: Plan, done: int) -> tuple[int, int]:
        return freezing.phase(plan.update, plan.training.epochs, done, self.until_epoch)

    def _assemble(self, plan: Plan) -> Assembly:
        keras.mixed_precision.set_dtype_policy(plan.precision)
        return (self.assemblies.assemble if self.assemblies else assemble)(plan, self.strategy)

    def _prepared(self, plan: Plan, images: selection.TrainingData, assembly: Assembly, until: int) -> Prepared:
        """Returns batches and state, as at the start of training."""
        model, training = assembly.model, plan.training
        worker = workers.worker_index(), workers.worker_count()
        pipeline = self._training(plan, images, assembly, worker)
        validation, scoring = None, None
        if images.validation is not None:
            validation = plan.batches(images.validation, model, "validation", self._reading, worker)
            scoring = self._scoring(plan, model, images.validation)
        state = State(
            model=model,
            optimizer=assembly.optimizer,
            average=assembly.average,
            schedule=schedules.build(
                plan.settings.schedule,
                peak=plan.update.learning_rate,
                epochs=training.epochs,
                steps_per_epoch=pipeline.steps_per_epoch,
                change=training.minimum_change,
            ),
            stopping=EarlyStopping(training.early_stopping_epochs, training.minimum_change),
            precision=plan.precision,
            ranges=assembly.step.ranges,
            sums=assembly.step.task.zero_sums(),
            steps_per_epoch=pipeline.steps_per_epoch,
        )
        return Prepared(plan, state, assembly.step, pipeline, validation, scoring, until)

    def _training(
        self, plan: Plan, images: selection.TrainingData, assembly: Assembly, worker: tuple[int, int]
    ) -> Pipeline:
        """Returns the training batches of images, or of what the task reads from a store."""
        model, task = assembly.model, assembly.step.task
        parts = [plan.batches(images.train, model, "training", self._reading, worker)]
        if plan.settings.data.augment_on_device:
            parts = [DeviceBatches(parts[0])]
        if self.unlabeled is not None:
            apart = dataclasses.replace(plan.settings, seed=plan.settings.seed ^ UNLABELED_SEED)
            others = dataclasses.replace(plan, settings=apart).training_pipeline(
                self.unlabeled, model.size, batch_size=plan.unlabeled_batch_size
            )
            plain_from = others.transform.plain_from
            parts.append(others if plain_from is None else PlainFrom(others, plain_from * parts[0].steps_per_epoch))
        pipeline = _joined(parts, plan.training.accumulation_steps)
        if isinstance(task, Distilled) and plan.settings.task.teacher_variants is not None:
            options: dict[str, Any] = {"cache": self.features, "reporter": self.reporter}
            options |= {"interruption": self.interruption, "shares": self._shares(plan)}
            parts = taught(parts, plan.training.epochs, task, self.workdir.teachers, **options)
            pipeline = _joined(parts, plan.training.accumulation_steps)
        return pipeline

    def _shares(self, plan: Plan) -> int:
        """Returns the number of equal parts of a batch, each of which a device takes at once."""
        return self.strategy.num_replicas_in_sync * plan.training.accumulation_steps

    def _announced(
        self, prepared: Prepared, images: selection.TrainingData, assembly: Assembly, start: int
    ) -> Prepared:
        """Says what is trained; batches of stored features replace those of images."""
        plan, model, steps = prepared.plan, assembly.model, prepared.training.steps_per_epoch
        height, width = model.size
        self.reporter.say(
            f"{plan.settings.model.name} at {width}x{height}: {model.count_params():,} parameters, "
            f"{plan.precision}, {len(images.train):,} training images, {steps:,} steps per epoch"
        )
        if assembly.step.resolutions is not None:
            self.reporter.say(f"each step is made at one of {assembly.step.resolutions} pixels (height x width)")
        if (note := unchanged(plan.settings.model)) is not None:
            self.reporter.note(note)
        if plan.update.freeze_normalization:
            self.reporter.say("batch normalization of the backbone is frozen")
        if plan.update.frozen:
            freed = [pattern for epoch, pattern in plan.update.unfreezing() if epoch <= start]
            self.reporter.say(f"{frozen_params(model, plan.update.frozen, freed):,} parameters are frozen")
        frozen, variants = assembly.features, plan.training.feature_variants
        if frozen is None or variants is None:
            return prepared
        extractor: keras.Model = frozen

        def stored(batches: Any, variants: int) -> FeatureBatches:
            told = self.features, self.reporter, self.interruption
            return FeatureBatches(batches, extractor, variants, *told, self._shares(plan))

        validation = None if prepared.validation is None else stored(prepared.validation, 1)
        return dataclasses.replace(prepared, training=stored(prepared.training, variants), validation=validation)

    def _reading(self, name: str, done: int, total: int) -> None:
        self.interruption.check("training had not started")
        self.reporter.reading(name, done, total)

    def _fitting(self, name: str, done: int, total: int) -> None:
        self.interruption.check("training had not started")
        self.reporter.fitting(name, done, total)

    def _scoring(self, plan: Plan, model: keras.Model, validation: ImageCache) -> Scoring | None:
        """Computes the task's `scores` on all validation images, in each worker."""
        task = plan.task
        if not task.scores:
            return None
        pipeline = plan.batches(validation, model, "evaluation", self._reading)
        predictor = BatchPredictor(model, task)
        return lambda predicted: task.score(predictor(pipeline) if predicted is None else predicted, pipeline)


def _joined(parts: Sequence[Any], accumulation_steps: int) -> Pipeline:
    """Returns batches of images with labels, and without if there are such images."""
    pipeline: Pipeline = WithUnlabeled(*parts, parts=accumulation_steps) if len(parts) > 1 else parts[0]
    return pipeline


def _preprocessing(network: keras.Model) -> dict[str, Any]:
    """Returns the network's per-channel `mean` and `std`, for `dataset.json`."""
    statistics = standardization(network)
    assert statistics is not None  # every network that takes images has them
    return {"mean": list(statistics[0]), "std": list(statistics[1])}
