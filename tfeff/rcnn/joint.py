"""Trains the joint head on cached features: classification and box regression together, with SGD."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, training
from tfeff.errors import UserError
from tfeff.models.heads import region
from tfeff.rcnn.examples import Examples
from tfeff.rcnn.region_batches import RegionBatches
from tfeff.rcnn.sampling import Sampler
from tfeff.tasks.region_head import RegionHead
from tfeff.training import checkpoint, optimizers
from tfeff.training.assembly import Assembly
from tfeff.training.interruption import Interruption
from tfeff.training.loop import Hook, Loop, Row
from tfeff.training.resumption import restore, resume
from tfeff.training.saving import Saving
from tfeff.training.schedules import Constant
from tfeff.training.state import State
from tfeff.training.step import Step
from tfeff.training.stopping import EarlyStopping
from tfeff.training.tensorboard import Board
from tfeff.training.validation import Validation

FEATURE_NORM = 6.0
"""Mean norm to which features are scaled. Larger norms make box regression unstable at common learning rates."""
MAX_VALIDATION_BATCHES = 50
"""The same batches validate every epoch."""


@dataclass(frozen=True, eq=False)
class JointData:
    """The regions that joint heads are trained on.

    Attributes:
        train: the training regions.
        validation: the validation regions, for early stopping.
        moments: mean and standard deviation of the training features, float [D] each.
        classes: C.
        digest: of the backbone that computed the features.
    """

    train: Examples
    validation: Examples
    moments: tuple[np.ndarray, np.ndarray]
    classes: int
    digest: str = ""


def check(settings: config.Joint, replicas: int) -> None:
    """Requires batches that the devices can share.

    Raises:
        UserError: they cannot.
    """
    size = settings.positives + settings.negatives
    if size % replicas:
        raise UserError(
            f"config: joint.positives + joint.negatives is {size}; it should be a multiple of the {replicas} devices, "
            'or set backbone.training.strategy to "single"'
        )


def train(
    settings: config.Joint,
    data: JointData,
    directory: Path,
    *,
    seed: int,
    strategy: tf.distribute.Strategy,
    checkpoint_seconds: float,
    reporter: training.Reporter,
    interruption: Interruption,
    hooks: Sequence[Hook] = (),
) -> keras.Model:
    """Trains a joint head until early stopping; resumes from the last checkpoint if there is one.

    Args:
        settings: of the head.
        data: the regions.
        directory: the workdir of this training; `metrics.jsonl` holds a row per epoch, where images are regions.
        seed: of weights and batches.
        strategy: the devices that share a batch.
        checkpoint_seconds: seconds between checkpoints within an epoch.
        reporter: reports progress.
        interruption: notices signals.
        hooks: called after validation.

    Returns:
        The head with the weights of the best epoch, see `region.joint`.

    Raises:
        UserError: no region overlaps an object enough; the directory belongs to another backbone; training diverged.
        Interrupted: after a signal; the state is saved.
    """
    check(settings, strategy.num_replicas_in_sync)
    workdir = training.Workdir(directory)
    _claim(workdir, data.digest)
    pipeline = batches(settings, data.train, data.classes, seed=seed, name="training")
    validation = batches(settings, data.validation, data.classes, seed=seed, name="validation")
    assembly = assemble(settings, data, seed=seed, strategy=strategy, batch_size=pipeline.batch_size)
    head, patience = assembly.model, settings.patience_epochs
    unfinished, saved = resume(
        workdir, epochs=settings.epochs, patience=patience, until_epoch=None, report=reporter.say
    )
    if unfinished:
        state = State(
            model=head,
            optimizer=assembly.optimizer,
            average=None,
            schedule=Constant(settings.learning_rate),
            stopping=EarlyStopping(patience),
            precision=keras.mixed_precision.dtype_policy().name,
            sums=assembly.step.task.zero_sums(),
        )
        if saved is not None:
            restore(state, saved, reporter.say)
        watching = Validation(validation.evaluation_batches(), monitor="loss", every=1)
        Loop(
            state=state,
            step=assembly.step,
            pipeline=pipeline,
            hooks=[watching, *hooks, Saving(keep_best=True)],
            workdir=workdir,
            interruption=interruption,
            epochs=settings.epochs,
            checkpoint_seconds=checkpoint_seconds,
            advice=f"Train in a new --workdir with a lower joint.learning_rate (now {settings.learning_rate:g})",
        ).run()
    arrays, _ = checkpoint.load(workdir.final)
    for weight in head.weights:
        weight.assign(arrays[f"model/{weight.path}"])
    return head


def batches(settings: config.Joint, examples: Examples, classes: int, *, seed: int, name: str) -> RegionBatches:
    """The batches of a set of regions.

    Args:
        settings: of the head.
        examples: the regions.
        classes: C.
        seed: of the batches.
        name: `training` or `validation`, for messages.

    Raises:
        UserError: no region overlaps an object enough.
    """
    sampler = Sampler.by_overlap(
        examples.targets,
        positives=settings.positives,
        negatives=settings.negatives,
        positive_overlap=settings.positive_overlap,
        negative_overlap=settings.negative_overlap,
        seed=seed,
    )
    if not len(sampler.positive):
        raise UserError(
            f"no region of the {name} images overlaps an object by more than {settings.positive_overlap}; "
            "lower joint.positive_overlap, or raise proposals.max_proposals"
        )
    return RegionBatches(examples, sampler, classes, most=MAX_VALIDATION_BATCHES)


def assemble(
    settings: config.Joint, data: JointData, *, seed: int, strategy: tf.distribute.Strategy, batch_size: int
) -> Assembly:
    """The head as at the start of training, with its optimizer and steps, under the current dtype policy."""
    mean, std = data.moments
    with strategy.scope():
        head = region.joint(
            mean,
            std * np.sqrt(len(std)) / FEATURE_NORM,
            data.classes,
            hidden=settings.hidden,
            l1=settings.l1,
            dropout=settings.dropout,
            seed=seed,
        )
        optimizer = optimizers.build(
            "sgd",
            head,
            momentum=settings.momentum,
            nesterov=False,
            loss_scaling=keras.mixed_precision.dtype_policy().name == "mixed_float16",
        )
    step = Step(head, optimizer, strategy, task=RegionHead(), batch_size=batch_size)
    return Assembly(head, optimizer, None, step)


def curves(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The losses and accuracies of each epoch on training and validation regions."""
    return [
        {key: value for key, value in row.items() if key == "epoch" or key.startswith(("train_", "validation_"))}
        for row in rows
    ]


class Curves(Hook):
    """Reports the epochs of a joint head on the console and in TensorBoard.

    Args:
        directory: of the event files.
        reporter: writes a line per epoch.
    """

    def __init__(self, directory: Path, reporter: training.Reporter) -> None:
        self._board, self._reporter = Board(directory), reporter

    def epoch(self, loop: Loop, row: Row) -> None:
        """Writes the metrics."""
        (curve,) = curves([row])
        self._board.scalars(curve.pop("epoch"), {f"joint/{key}": value for key, value in curve.items()})
        self._reporter.say(
            f"joint head, epoch {row['epoch']}: loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}; "
            f"validation loss {row['validation_loss']:.4f}, accuracy {row['validation_accuracy']:.4f}"
        )

    def close(self, loop: Loop) -> None:
        """Closes the event files."""
        self._board.close()


def _claim(workdir: training.Workdir, digest: str) -> None:
    """Creates the workdir for the features of one backbone."""
    record = {"backbone": digest}
    if (workdir.path / "dataset.json").is_file():
        if workdir.dataset() != record:
            raise UserError(
                f"{workdir.path}: the backbone has changed since this training began; restore the old backbone, or "
                "delete this directory to train the head again"
            )
        return
    workdir.path.mkdir(parents=True, exist_ok=True)
    workdir.write_dataset(record)
