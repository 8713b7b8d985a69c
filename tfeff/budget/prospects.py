"""Labels or compute: what more images, larger networks and longer trainings bring, and which labels look wrong."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from tfeff.budget import durations, probing
from tfeff.budget.competition import Competition
from tfeff.budget.labels import Labels, examine
from tfeff.errors import UserError
from tfeff.execution.executor import collect
from tfeff.trials import growth
from tfeff.trials.allocation import Full
from tfeff.trials.growth import Growth
from tfeff.trials.results import Block, by_fold
from tfeff.trials.trial import Candidate

PARTS = (0.25, 0.5)
"""Shares of the training images on which the choice is also trained."""
LONGER = 2.0
"""Relative to its epochs, what the choice is also trained for."""


@dataclass(frozen=True)
class Check:
    """A forecast of what was measured: the metric with all images, from the trainings on fewer alone.

    Attributes:
        forecast: mean over the folds, with the interval of the mean that is measured.
        measured: that mean.
    """

    forecast: growth.Forecast
    measured: float

    @property
    def inside(self) -> bool:
        """Whether the interval contains what was measured."""
        return self.forecast.low <= self.measured <= self.forecast.high


@dataclass(frozen=True)
class Prospects:
    """What more images and more compute would bring.

    Attributes:
        fitted: the fit to the trainings of all networks of the choice's start.
        trainings: (images, metric) of each training of the choice.
        mean: mean metric of the choice over the folds on which the networks were compared.
        varied: what the trainings differ in besides images, of `macs` and `epochs`; about the others nothing is known.
        check: how a forecast of what was measured fared.
    """

    fitted: Growth
    trainings: Sequence[tuple[int, float]]
    mean: float
    varied: Collection[str]
    check: Check

    def expected(self, **factors: float) -> growth.Gain:
        """Predicts what the choice gains from so many times its images, multiply-adds (`macs`) or epochs."""
        return self.fitted.gain(self.mean, **factors)


def prospects(competition: Competition, chosen: str) -> Prospects | str:
    """Trains the choice on parts of the images and, with time left, for twice the epochs, and fits power laws.

    The power laws are fitted to all trainings of the choice's start.

    The odds of an error are those of 1 - metric; of mean average precision, too.

    Shortened trainings are not extrapolated: they end before the network has learned what its images can teach, so what
    more images bring to them is not what these bring to whole trainings.

    Returns:
        Why there is no forecast, if there is none: for shortened trainings and metrics that are not in [0, 1], without
        time, if it is impossible (such as `task.plain_epochs` that shorter trainings do not have), and if no training
        on a part succeeds.
    """
    try:
        return _prospects(competition, chosen)
    except UserError as error:  # the choice is trained and exported: its report follows in any case
        return str(error)


def _prospects(competition: Competition, chosen: str) -> Prospects:
    study, precision = competition.study, competition.precision
    if not study.objective.bounded:
        raise UserError(f"{study.objective.title} is not in [0, 1]")
    table = competition.table([chosen], competition.compared)[chosen]
    blocks = list(table)
    if not blocks:
        raise UserError("the choice was not trained on folds")
    parts = [study.on_part(chosen, share, precision) for share in PARTS]
    lengths = [share * durations.passes(each) for share, each in zip(PARTS, parts, strict=True)]
    runs = [(length, competition.open(each, blocks)) for length, each in zip(lengths, parts, strict=True)]
    if competition.pace < 1:
        minutes = _minutes(competition, chosen, runs, _whole(competition, chosen))
        raise UserError(f"the trainings on folds were shortened; a forecast requires whole ones, and {minutes}")
    if not _affordable(competition, "forecast of more images and compute", chosen, runs):
        raise UserError(f"no time was left; a forecast requires {_minutes(competition, chosen, runs)}")
    rows, validated = list[growth.Training](), round(study.validation_trials)
    for each in parts:
        values = _trained(competition, each, f"the choice on {_images(each)} images", blocks)
        rows += _trainings(each, _images(each), values, validated)
    if not rows:
        raise UserError("every training on a part of the images failed")
    images = study.examples[0]
    check = checked(rows, images, {fold: value for (fold, _), value in table.items()})
    curve = [(each.images, 1.0 - each.error) for each in rows] + [(images, value) for value in table.values()]
    varied, longer = list[str](), study.longer(chosen, LONGER, precision)
    runs = [(durations.passes(longer), competition.open(longer, blocks))]
    if _affordable(competition, "training for twice the epochs", chosen, runs):
        values = _trained(competition, longer, "the choice for twice the epochs", blocks)
        rows += _trainings(longer, images, values, validated, LONGER)
        varied += ["epochs"] if values else []
    for name, values in competition.table(list(competition.candidates), competition.compared).items():
        if study.networks[name].start == study.networks[chosen].start:
            rows += _trainings(competition.candidates[name], images, values, validated)
    varied += ["macs"] if len({each.macs for each in rows}) > 1 else []
    return Prospects(growth.fit(rows), curve, statistics.fmean(table.values()), varied, check)


def checked(parts: Sequence[growth.Training], images: int, measured: Mapping[int, float]) -> Check:
    """Forecasts the metric with all images from trainings on parts of them alone; all others are held back.

    Args:
        images: number of all images.
        measured: fold -> metric with all of them.
    """
    folds = {each.fold for each in parts}
    validated = parts[0].validated * len(folds)
    factor = images / max(each.images for each in parts)
    return Check(
        growth.fit(parts).forecast(images=factor, validated=validated),
        statistics.fmean(measured[fold] for fold in folds),
    )


def label_gain(competition: Competition) -> Labels | None:
    """Examines labels of training images, by the features of the network with the best probe.

    Returns:
        None for detectors, without a probed network, without time for it, and for too few images.
    """
    if not competition.screened or competition.study.detects:
        return None
    best = max(competition.screened, key=lambda name: (competition.screened[name], name))
    candidate = competition.candidates[best]
    fact = f"labels {best}"
    runs = [(1.0, int(competition.store.fact(fact) is None))]
    if not _affordable(competition, "examination of labels", best, runs):
        return None
    trial = probing.trial_of(candidate, competition.study.settings.folds)

    def compute() -> dict[str, float]:
        return asdict(collect(competition.executor, {best: (examine, trial)}, competition.runner.check)[best])

    try:
        return Labels(**competition.store.cached(fact, compute))
    except UserError as error:
        competition.runner.progress.say(f"labels are not examined: {error}")
        return None


def _affordable(competition: Competition, decision: str, chosen: str, runs: Sequence[tuple[float, int]]) -> bool:
    """Returns whether there is time for more trainings of the choice; those that are stored need none.

    Args:
        runs: one after the other, the passes of trainings, and their number.
    """
    if not any(count for _, count in runs):
        return True
    end = _end(competition, chosen, runs)
    affordable = bool(competition.time.decide(f"{decision} {chosen}", lambda: end <= competition.time.end))
    if not affordable:
        competition.runner.progress.say(f"skipped, because the time is over: {decision}")
    return affordable


def _end(competition: Competition, chosen: str, runs: Sequence[tuple[float, int]]) -> float:
    """Returns the second of the search at which trainings of the choice would end; `runs` as in `_affordable`."""
    timing = competition.time.timing()
    return competition.time.seconds + sum(
        durations.together([timing.seconds(chosen, passes)] * count, competition.executor.slots)
        for passes, count in runs
    )


def _whole(competition: Competition, chosen: str) -> float:
    """Returns the seconds of the search's trainings if none of them is shortened."""
    study, timing = competition.study, competition.time.timing()
    trainings = [
        timing.seconds(name, durations.passes(study.candidate(name, competition.precision, 1.0)))
        for name, row in competition.table(list(competition.candidates), competition.compared).items()
        for _ in row
    ]
    final = timing.seconds(chosen, study.final_passes(chosen, 1.0))
    return durations.together(trainings, competition.executor.slots) + final


def _minutes(competition: Competition, chosen: str, runs: Sequence[tuple[float, int]], before: float = 0.0) -> str:
    """Returns how many minutes a search that ends with a forecast takes, in words.

    Args:
        runs: trainings of the choice that are missing, as in `_affordable`.
        before: seconds of other trainings that are missing.
    """
    found = competition.time.decide(
        f"minutes of a forecast {chosen}", lambda: math.ceil((_end(competition, chosen, runs) + before) / 60)
    )
    return f"about {found} minutes or more (budget.minutes={found})"


def _trained(competition: Competition, candidate: Candidate, words: str, blocks: Sequence[Block]) -> dict[Block, float]:
    """Returns fold -> value of a variant of the choice."""
    epochs = candidate.experiment.training.epochs
    competition.runner.run([candidate], Full(epochs), words, blocks)
    return by_fold(competition.runner.results, epochs, [candidate.name], blocks)[candidate.name]


def _images(part: Candidate) -> int:
    count = part.experiment.data.fold_train_examples
    assert count is not None
    return count


def _trainings(
    candidate: Candidate, images: int, values: Mapping[Block, float], validated: int, epochs: float = 1.0
) -> list[growth.Training]:
    return [
        growth.Training(images, float(candidate.macs), fold, 1.0 - value, validated, epochs)
        for (fold, _), value in values.items()
    ]
