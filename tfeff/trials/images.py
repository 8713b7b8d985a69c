"""The images that the trials of a search or a sweep share."""

from collections.abc import Iterable
from dataclasses import dataclass

from tfeff import config, tasks
from tfeff.data.dataset import Dataset
from tfeff.errors import UserError
from tfeff.training import selection
from tfeff.trials.trial import on_fold


@dataclass(frozen=True, eq=False)
class Images:
    """The images of all trials.

    Attributes:
        dataset: those from which folds are drawn.
        examples: number of training and of validation images of one trial.
        validation_fingerprint: hash of the split that all folds are validated on; None if each has its own part.
    """

    dataset: Dataset
    examples: tuple[int, int]
    validation_fingerprint: str | None


def open_images(base: config.Experiment, folds: config.Folds, blocks: Iterable[tuple[int, int]]) -> Images:
    """The images of all trials.

    Args:
        base: experiment of the trials, before a fold is set.
        folds: how the training split is divided.
        blocks: (fold, seed) of all trials.

    Raises:
        UserError: the data is missing or too small for the folds, or images of different sizes have no common size.
    """
    source = selection.open_source(base)
    dataset = selection.load(base, source, base.data.train_split)
    whole = tasks.create(base.task).center_crop is not None
    if base.data.image_size is None and (dataset.size is None or whole):
        why = "with task.center_crop, it depends on the resolution" if whole else "the images differ in size"
        raise UserError(
            f"config: experiment.data.image_size is required because {why}; all candidates must start from the same "
            "images"
        )
    # The last fold first, because only that one can ask for more images than there are.
    numbers = sorted({fold for fold, _ in blocks}, reverse=True)
    try:
        parts = [selection.fold(on_fold(base, folds, fold=fold, seed=0), dataset, validates=False) for fold in numbers]
    except UserError as error:
        further = ""
        if numbers[0] >= folds.count:
            further = f" ({folds.count} of them for the members; see members.fresh_folds)"
        raise UserError(f"config: folds.examples, folds.count{further}: {error}") from None
    train = min(len(part.train) for part in parts if part is not None)
    validation = min(len(part.validation) for part in parts if part is not None)
    if folds.validation_split is None:
        return Images(dataset, (train, validation), None)
    shared = selection.load(base, source, folds.validation_split)
    return Images(dataset, (train, len(shared)), shared.fingerprint)


def check_batch_size(batch_size: int, images: int) -> None:
    """Rejects a batch that is larger than the training images of a trial."""
    if batch_size > images:
        raise UserError(
            f"config: folds: {images} training images per fold are fewer than one batch of {batch_size}; raise "
            "folds.examples or lower experiment.training.batch_size"
        )
