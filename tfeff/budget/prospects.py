"""Labels or compute: what more images, better labels, larger networks and longer trainings would bring."""

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
class Prospects:
    """What more images and more compute would bring.

    Attributes:
        fitted: the fit to the trainings of all networks of the choice's start.
        trainings: (images, metric) of each training of the choice.
        macs: multiply-adds of the choice, relative to the largest of these networks.
        varied: what these trainings differ in, of `macs` and `epochs`; about the others nothing is known.
    """

    fitted: Growth
    trainings: Sequence[tuple[int, float]]
    macs: float
    varied: Collection[str]

    def expected(self, *, images: float = 1.0, macs: float = 1.0, epochs: float = 1.0) -> growth.Forecast:
        """Predicts the metric of the choice with its images, multiply-adds and epochs multiplied by these factors."""
        longest = LONGER if "epochs" in self.varied else 1.0
        return self.fitted.forecast(images=images, macs=macs * self.macs, epochs=epochs / longest)


def prospects(competition: Competition, chosen: str) -> Prospects | None:
    """Trains the choice on parts of the images and, with time left, for twice the epochs, and fits power laws.

    The power laws are fitted to all trainings of the choice's start.

    The odds of an error are those of 1 - metric; of mean average precision, too.

    Returns:
        None without time for it, if it is impossible (such as `task.plain_epochs` that shorter trainings do not have),
        if no training on a part succeeds, if the choice was not trained on folds, and for metrics that are not in
        [0, 1].
    """
    try:
        return _prospects(competition, chosen)
    except UserError as error:  # the choice is trained and exported: its report follows in any case
        competition.runner.progress.say(f"no forecast: {error}")
        return None


def _prospects(competition: Competition, chosen: str) -> Prospects | None:
    study, precision, pace = competition.study, competition.precision, competition.pace
    if not study.objective.bounded:
        competition.runner.progress.say(f"no forecast: {study.objective.title} is not in [0, 1]")
        return None
    table = competition.table([chosen])[chosen]
    blocks = [block for block in competition.blocks if block in table]
    if not blocks:
        return None
    parts = [study.on_part(chosen, share, precision, pace) for share in PARTS]
    longer = study.longer(chosen, LONGER, precision, pace)
    lengths = [share * durations.passes(each) for share, each in zip(PARTS, parts, strict=True)]
    runs = [(length, competition.open(each, blocks)) for length, each in zip(lengths, parts, strict=True)]
    if not _affordable(competition, "forecast of more images and compute", chosen, runs):
        return None
    rows, validated = list[growth.Training](), round(study.validation_trials)
    for each in parts:
        values = _trained(competition, each, f"the choice on {_images(each)} images", blocks)
        rows += _trainings(each, _images(each), values, validated)
    if not rows:
        return None
    images = study.examples[0]
    curve = [(each.images, 1.0 - each.error) for each in rows] + [(images, value) for value in table.values()]
    varied = list[str]()
    runs = [(durations.passes(longer), competition.open(longer, blocks))]
    if _affordable(competition, "training for twice the epochs", chosen, runs):
        values = _trained(competition, longer, "the choice for twice the epochs", blocks)
        rows += _trainings(longer, images, values, validated, LONGER)
        varied += ["epochs"] if values else []
    for name, values in competition.table(list(competition.candidates)).items():
        if study.networks[name].start == study.networks[chosen].start:
            rows += _trainings(competition.candidates[name], images, values, validated)
    every = {each.macs for each in rows}
    varied += ["macs"] if len(every) > 1 else []
    return Prospects(growth.fit(rows), curve, competition.candidates[chosen].macs / max(every), varied)


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
    timing = competition.time.timing()
    end = competition.time.seconds + sum(
        durations.together([timing.seconds(chosen, passes)] * count, competition.executor.slots)
        for passes, count in runs
    )
    affordable = bool(competition.time.decide(f"{decision} {chosen}", lambda: end <= competition.time.end))
    if not affordable:
        competition.runner.progress.say(f"skipped, because the time is over: {decision}")
    return affordable


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
