"""How long trainings take, counted in predictions of their images."""

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tfeff import config
from tfeff.budget.race import SHORT
from tfeff.trials.progress import VALIDATION_SHARE
from tfeff.trials.trial import Candidate


def stores_features(candidate: Candidate) -> bool:
    """Returns whether all stages are frozen, and compute the features of some variants of each image once."""
    experiment = candidate.experiment
    return _freezes_stages(experiment.optimizer) and experiment.training.feature_variants is not None


def passes(candidate: Candidate, epochs: int | None = None) -> float:
    """Returns what a training costs, in predictions of each of its images.

    Args:
        candidate: what is trained.
        epochs: number of epochs; None: those of the candidate.
    """
    return passes_of(candidate.experiment.optimizer, candidate.experiment.training, epochs)


def passes_of(optimizer: config.Optimizer, training: config.Training, epochs: int | None = None) -> float:
    """Returns `passes` for two sections of a config."""
    if _freezes_stages(optimizer) and training.feature_variants is not None:
        return float(training.feature_variants)
    step = 1.0 if _freezes_stages(optimizer) else 1.0 / VALIDATION_SHARE
    return step * (training.epochs if epochs is None else epochs)


def _freezes_stages(optimizer: config.Optimizer) -> bool:
    return "stage*" in optimizer.frozen and not optimizer.unfreeze


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        name: the candidate.
        seconds: seconds of the whole training.
        epochs: seconds of each epoch.
        passes: see `passes`.
        stored: whether it stored features, so that most of its passes are in the first epoch.
    """

    name: str
    seconds: float
    epochs: Sequence[float]
    passes: float
    stored: bool = False

    @property
    def of_passes(self) -> float:
        """Seconds of the passes.

        Unless features are stored, the first epoch differs from the others by the compilation, which is no pass.
        """
        epochs = self.epochs
        return sum(epochs) if self.stored else len(epochs) * statistics.median(epochs[1:] or epochs)


@dataclass(frozen=True)
class Timing:
    """Predicts how long trainings take.

    Attributes:
        per_pass: seconds of one of the `passes` over the images of a fold, by candidate that was trained.
        start: seconds of a training besides its passes and the loading of its weights.
        macs: multiply-adds of every candidate.
        loading: seconds until a candidate has its weights, which it may have to inherit.
    """

    per_pass: Mapping[str, float]
    start: float
    macs: Mapping[str, int]
    loading: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_trainings(
        cls, trainings: Iterable[Trained], macs: Mapping[str, int], loading: Mapping[str, float]
    ) -> "Timing":
        """Measures the timing of finished trainings; `macs` and `loading` as in the class."""
        found, starts = dict[str, list[float]](), list[float]()
        for each in trainings:
            found.setdefault(each.name, []).append(each.of_passes / each.passes)
            starts.append(max(0.0, each.seconds - each.of_passes - loading.get(each.name, 0.0)))
        means = {name: statistics.fmean(values) for name, values in found.items()}
        return cls(means, statistics.fmean(starts) if starts else 0.0, macs, loading)

    def seconds(self, name: str, passes: float) -> float:
        """Predicts the seconds of a training from its `passes`; 0 if nothing is known.

        A pass of a candidate that was not trained yet takes time in proportion to multiply-adds.
        """
        if not self.per_pass:
            return 0.0
        per_mac = sum(self.per_pass.values()) / sum(self.macs[each] for each in self.per_pass)
        own = self.per_pass.get(name, per_mac * self.macs[name])
        return self.start + self.loading.get(name, 0.0) + passes * own


def together(trainings: Iterable[float], slots: int) -> float:
    """Returns the seconds of trainings, in this order, some of them at once.

    >>> together([10.0] * 5, 4), together([10.0, 30.0], 4), together([], 4)
    (20.0, 30.0, 0.0)
    """
    ends = [0.0] * slots
    for seconds in trainings:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def pace(seconds: float, short: float, whole: float) -> float:
    """Returns the share of their epochs for which there is time to make trainings, from `SHORT` to 1.

    Args:
        seconds: time for them.
        short: seconds that they take with `SHORT` of the epochs.
        whole: seconds that they take with all epochs.

    >>> pace(60.0, 36.0, 100.0), pace(100.0, 36.0, 100.0), pace(-5.0, 36.0, 100.0)
    (0.5, 1.0, 0.2)
    """
    if whole <= max(short, seconds):
        return 1.0
    return min(1.0, max(SHORT, SHORT + (1.0 - SHORT) * (seconds - short) / (whole - short)))
