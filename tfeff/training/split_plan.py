"""Which splits of a source a run trains, validates and tests on."""

from dataclasses import dataclass

from tfeff import config
from tfeff.data.sources.source import Source
from tfeff.errors import UserError, nearest

_DEFAULT_FRACTION = config.Data.validation_fraction


@dataclass(frozen=True)
class Plan:
    """The splits of a source for training, validation and test.

    Attributes:
        train: the split to train on.
        validation: the split to validate on; None if a part of the training split is held out, or nothing.
        test: the split to test on; None if there is none.
        notes: what the user should know about this choice, one line each.
    """

    train: str
    validation: str | None
    test: str | None
    notes: tuple[str, ...] = ()


def plan(settings: config.Experiment, source: Source) -> Plan:
    """Chooses the splits for training, validation and test.

    The validation split is the one the config names; else, without folds, the source's own one, unless it is the test
    split or shares images with the training split.

    Raises:
        UserError: a split that the config names does not exist, or is the training split.
    """
    data = settings.data
    train = _named(source, "data.train_split", data.train_split)
    test = source.find(data.test_split) if data.test_split is not None else None
    if test is None and data.test_split not in (None, config.Data.test_split):
        test = _named(source, "data.test_split", data.test_split)
    validation = None
    if data.validation_split is not None:
        validation = _named(source, "data.validation_split", data.validation_split)
    elif data.folds is None:
        validation = source.find("validation")
        if validation is not None and (validation == test or source.overlap(train, validation)):
            validation = None
    for key, split in (("test_split", test), ("validation_split", validation)):
        if split is not None and source.overlap(train, split):
            raise UserError(
                f'config: data.{key}: "{split}" shares images with data.train_split = "{train}"; choose another split'
            )
    notes = []
    if test is not None and test == validation:
        notes.append(f'{source.name}: the validation split "{test}" is also the test split')
    if (
        validation is not None
        and data.validation_split is None
        and data.validation_fraction not in (0, _DEFAULT_FRACTION)
    ):
        notes.append(
            f'{source.name}: data.validation_fraction is not used, since the source has a split "{validation}"'
        )
    return Plan(train, validation, test, tuple(notes))


def _named(source: Source, key: str, split: str) -> str:
    found = source.find(split)
    if found is None:
        raise UserError(f'config: {key}: {source.name} has no split "{split}"; {nearest(split, source.splits)}')
    return found
