"""Labels or compute: what more images and larger networks would bring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfeff.budget.competition import Competition
from tfeff.trials import growth
from tfeff.trials.allocation import Full
from tfeff.trials.growth import Growth
from tfeff.trials.results import Block, by_fold
from tfeff.trials.trial import Candidate

PARTS = (0.25, 0.5)
"""Shares of the training images on which the choice is also trained."""


@dataclass(frozen=True)
class Prospects:
    """What more images and more compute would bring.

    Attributes:
        fitted: to the trainings of all networks of the choice's start.
        trainings: (images, metric) of each training of the choice.
        macs: multiply-adds of the choice, relative to the largest of these networks.
        varied: whether these networks differ in multiply-adds; else nothing is known about compute.
    """

    fitted: Growth
    trainings: Sequence[tuple[int, float]]
    macs: float
    varied: bool

    def expected(self, *, images: float = 1.0, macs: float = 1.0) -> growth.Forecast:
        """The metric, with `images` times the images and `macs` times the multiply-adds of the choice."""
        return self.fitted.forecast(images=images, macs=macs * self.macs)


def prospects(competition: Competition, chosen: str) -> Prospects | None:
    """Trains the choice on parts of the images, and fits power laws to all trainings of its start.

    The odds of an error are those of 1 - metric; of mean average precision, too.

    Returns:
        None without time for it, if no training on a part succeeds, and for metrics that are not in [0, 1].
    """
    study, executor = competition.study, competition.executor
    parts = [study.on_part(chosen, share, competition.precision, competition.pace) for share in PARTS]
    table = competition.table([chosen])[chosen]
    blocks = [block for block in competition.blocks if block in table]
    whole = competition.candidates[chosen].experiment.training.epochs
    shares = [share * each.experiment.training.epochs / whole for share, each in zip(PARTS, parts, strict=True)]
    expected = competition.expected(chosen) * sum(shares) * len(blocks) / executor.slots
    until = competition.deadline(1.0)
    affordable = competition.decide("prospects", lambda: competition.watch.seconds + expected <= until)
    if not affordable or not study.objective.bounded:
        return None
    rows, validated = list[growth.Training](), round(study.validation_trials)
    for each in parts:
        epochs = each.experiment.training.epochs
        competition.runner.run([each], Full(epochs), f"the choice on {_images(each)} images", blocks)
        values = by_fold(competition.runner.results, epochs, [each.name], blocks)[each.name]
        rows += _trainings(each, _images(each), values, validated)
    if not rows:
        return None
    images = study.examples[0]
    curve = [(each.images, 1.0 - each.error) for each in rows] + [(images, value) for value in table.values()]
    for name, values in competition.table(list(competition.candidates)).items():
        if study.networks[name].start == study.networks[chosen].start:
            rows += _trainings(competition.candidates[name], images, values, validated)
    every = {each.macs for each in rows}
    return Prospects(growth.fit(rows), curve, competition.candidates[chosen].macs / max(every), len(every) > 1)


def _images(part: Candidate) -> int:
    count = part.experiment.data.fold_train_examples
    assert count is not None
    return count


def _trainings(
    candidate: Candidate, images: int, values: Mapping[Block, float], validated: int
) -> list[growth.Training]:
    return [
        growth.Training(images, float(candidate.macs), fold, 1.0 - value, validated)
        for (fold, _), value in values.items()
    ]
