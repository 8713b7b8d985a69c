"""Linear probes of candidates: how well the classes are separated by the features before any training.

A probe and the accuracy after fine-tuning have a rank correlation of about .8, mostly because both grow with cost; at
equal cost, a probe can reverse the order. So it discards only what is clearly worse, and decides who is trained first.
"""

import dataclasses
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from scipy import special

from tfeff import config, selection
from tfeff.data.folds import Fold
from tfeff.data.input.cache import ImageCache
from tfeff.errors import UserError
from tfeff.execution.executor import DISK_FULL, Executor
from tfeff.models.network import Network, in_policy
from tfeff.networks.heads import CLASSIFIER
from tfeff.recipes.transfer import PROBED, QUANTILE, linear_probe, margin
from tfeff.training.plan import Plan
from tfeff.trials.runner import AGAIN
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate, Trial
from tfeff.trials.worker import split_caches

SAID_SECONDS = 30.0
"""Between two lines on the progress."""
SPARED = 0.05
"""A candidate is discarded only if its probe's accuracy is certainly lower than the best one's by this much, or by
objective.margin, if that is larger."""

FAILURE, LOST = "error", "lost"
"""Keys of why a probe failed, and of how often its process was lost, if that is why; instead of the attributes of a
`Probe`."""


@dataclass(frozen=True)
class Probe:
    """The probe of one candidate.

    Attributes:
        correct: for each held-out image, whether it is classified correctly.
        groups: its group; images of one group belong together. None: each is on its own.
        start: seconds until the first features are computed, without those of `loading` and of reading the images.
        loading: seconds until the network has its weights, which it may have to inherit.
        image: seconds per image after that.
    """

    correct: Sequence[bool]
    groups: Sequence[int] | None = None
    start: float = 0.0
    loading: float = 0.0
    image: float = 0.0

    @property
    def accuracy(self) -> float:
        """Fraction of the held-out images that are classified correctly."""
        return float(np.mean(self.correct))


def trial_of(candidate: Candidate, section: config.Folds) -> Trial:
    """Returns what is probed: the network of a candidate, on one half of the images; the other half is held out.

    Folds hold out fewer images, on which candidates differ by less than chance; and a half has enough images to fit
    inherited weights. These depend on the half, so exchanging the halves would double the time that inheritance takes.
    """
    halves = dataclasses.replace(section, kind="classic", count=2, seeds=1)
    return Trial(candidate.experiment).on_fold(halves, fold=0, seed=0)


def probe(trial: Trial) -> dict[str, Any]:
    """Probes the features of the network of a trial, with its initial weights; runs in a worker.

    The weights, if inherited, and the classifier are fitted to training images alone.

    Returns:
        The attributes of a `Probe` on the held-out images (of many, `PROBED`).
    """
    found = features_of(trial)
    correct = linear_probe([found.features], found.labels, [found.split]).correct[found.count :]
    groups = None if found.groups is None else found.groups[found.count :].tolist()
    return {"correct": [bool(each) for each in correct], "groups": groups, **found.seconds}


@dataclass(frozen=True, eq=False)
class Features:
    """What a classifier would read of training images and, after them, of held-out ones (of many, `PROBED` each).

    Attributes:
        features: float32 [n, d].
        labels: int [n].
        count: number of training images.
        groups: int [n]; images of one group, such as crops of one photograph, belong together. None: each is on its
            own.
        ids: n ids of the images; none if they are not known.
        class_names: the classes, by label.
        seconds: `start`, `loading` and `image`, see `Probe`.
    """

    features: np.ndarray
    labels: np.ndarray
    count: int
    groups: np.ndarray | None = None
    ids: Sequence[str] = ()
    class_names: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def split(self) -> Fold:
        """The training images and the held-out ones."""
        return Fold(np.arange(self.count), np.arange(self.count, len(self.labels)))


def features_of(trial: Trial) -> Features:
    """Computes the features that the network of a trial has with its initial weights."""
    wanted = dataclasses.replace(selection.request(trial.experiment), batch_size=1)  # half of the images may be fewer
    images = selection.choose(wanted, split_caches(trial))
    assert images.validation is not None
    keras.backend.clear_session()
    plan = Plan.of(trial.experiment)
    plan = plan.learned(plan.measured(images)[0])
    began = time.perf_counter()
    with in_policy("float32"):
        network = plan.build_network()
        built = time.perf_counter()
        plan.load_weights(network, images.train)
        loaded = time.perf_counter()
    train, held_out = (_some(part) for part in (images.train, images.validation))
    computing = _Computing(plan, network)
    both = [computing.of(part) for part in (train, held_out)]
    labels = np.concatenate([each.dataset.labels for each in (train, held_out)])
    groups = [each.dataset.groups for each in (train, held_out) if each.dataset.groups is not None]
    return Features(
        np.concatenate(both),
        labels,
        len(train),
        np.concatenate(groups) if len(groups) == 2 else None,
        [str(each) for part in (train, held_out) for each in part.dataset.ids],
        train.dataset.class_names,
        {"start": built - began + computing.first, "loading": loaded - built, "image": computing.image},
    )


def _some(images: ImageCache) -> ImageCache:
    if len(images) <= PROBED:
        return images
    return images.take(np.sort(np.random.default_rng(0).permutation(len(images))[:PROBED]))


class _Computing:
    """Computes and times the features of a network."""

    def __init__(self, plan: Plan, network: Network) -> None:
        features = keras.Model(network.inputs, network.get_layer(CLASSIFIER).input)
        self._plan, self._size = plan, network.size
        self._compute = tf.function(lambda batch: features(batch, training=False), autograph=False, jit_compile=False)
        self._seconds = list[float]()

    def of(self, images: ImageCache) -> np.ndarray:
        """Returns the features of images, float32 [n, d]."""
        found, batches = list[np.ndarray](), self._plan.evaluation_pipeline(images, self._size)
        began = time.perf_counter()
        for batch in batches.evaluation_batches():
            found.append(self._compute(batch["image"]).numpy())
            ended = time.perf_counter()
            self._seconds.append(ended - began)
            began = ended
        return np.concatenate(found)[: len(images)]

    @property
    def first(self) -> float:
        """Seconds of the first batch, in which the computation is compiled, beyond those of the others."""
        return max(0.0, self._seconds[0] - self._usual)

    @property
    def image(self) -> float:
        """Seconds per image of the other batches."""
        return self._usual / self._plan.evaluation_batch_size

    @property
    def _usual(self) -> float:
        return statistics.median(self._seconds[1:] or self._seconds)


def run(
    trials: Mapping[str, Trial],
    store: TrialStore,
    executor: Executor,
    affordable: Callable[[str], bool],
    done: Callable[[str, Probe], None],
    attempts: int,
    check: Callable[[], None],
    say: Callable[[str], None],
) -> dict[str, Probe | str]:
    """Runs probes in an executor; those that are stored are not repeated, nor are those that failed.

    Those whose process was lost too often are repeated with more attempts.

    Args:
        trials: name -> what is probed, see `trial_of`, in the order to probe them.
        affordable: whether there is time for a probe that is not stored.
        done: called for each probe, also for stored ones.
        attempts: number of attempts at a probe whose process is lost.
        check: called repeatedly while waiting; may raise.
        say: shows a line on the progress.

    Returns:
        name -> its probe, or why it failed; those for which there was no time are missing.
    """
    found, failures = dict[str, Probe | str](), Counter[str]()
    waiting, running, said = list(trials), set[str](), time.monotonic()

    def keep(name: str, value: Mapping[str, Any]) -> Probe | str:
        if FAILURE in value:
            return str(value[FAILURE])
        kept = Probe(**value)
        done(name, kept)
        return kept

    while waiting or running:
        while waiting and len(running) < executor.slots:
            name = waiting.pop(0)
            value = json.loads(store.fact(f"probe {name}") or "{}")
            lost = value.get(LOST, 0)
            failures[name] = max(failures[name], lost)
            if value and (lost == 0 or lost >= attempts):
                found[name] = keep(name, value)
            elif affordable(name):
                running.add(name)
                executor.submit(name, probe, trials[name])
        outcomes = executor.wait(1.0) if running else ()
        check()
        for outcome in outcomes:
            name = str(outcome.key)
            running.remove(name)
            if outcome.error == DISK_FULL:
                raise UserError(f"{DISK_FULL} of {store.path.parent}: free some space and rerun the command")
            if outcome.error is None:
                found[name] = keep(name, outcome.value)
                store.write_fact(f"probe {name}", json.dumps(outcome.value))
                continue
            failures[name] += 1
            if outcome.retryable and failures[name] < attempts:
                waiting.append(name)
            else:
                failure: dict[str, Any] = {FAILURE: outcome.error}
                if outcome.retryable:
                    failure = {FAILURE: outcome.error + AGAIN.format(attempts), LOST: failures[name]}
                found[name] = failure[FAILURE]
                store.write_fact(f"probe {name}", json.dumps(failure))
        if time.monotonic() - said > SAID_SECONDS:
            said = time.monotonic()
            say(f"probes: {len(found)} of {len(trials)}")
    return found


def clearly_worse(probes: Mapping[str, Probe], spared: float = SPARED) -> dict[str, tuple[float, float]]:
    """Returns the candidates whose probe is certainly worse than the best one by more than `spared`.

    Differences are paired by image, with Bonferroni's correction for the number of candidates; see `paired_difference`.

    Returns:
        name -> (the best accuracy minus its own, half the width of the interval).
    """
    if len(probes) < 2:
        return {}
    best = max(probes, key=lambda name: (probes[name].accuracy, name))
    reference = probes[best]
    groups = None if reference.groups is None else np.asarray(reference.groups)
    level, found = 1.0 - 0.025 / (len(probes) - 1), dict[str, tuple[float, float]]()
    for name, each in probes.items():
        difference, half = paired_difference(np.asarray(reference.correct), np.asarray(each.correct), level, groups)
        if difference - half > spared:
            found[name] = difference, half
    return found


def paired_difference(
    one: npt.NDArray[np.bool_],
    other: npt.NDArray[np.bool_],
    level: float,
    groups: npt.NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """Returns an accuracy minus another one on the same images, and half the width of its interval.

    The interval is Agresti and Min's (Statistics in Medicine 24, 2005), which adds half an image to each of the four
    outcomes. That of images in groups follows from the sums over each group, by Student's t distribution.

    Args:
        level: probability that the difference is below the upper end of the interval, such as 0.975.
        groups: int [n], the group of each image.
    """
    if groups is not None:
        differences, members = one.astype(float) - other, np.unique(groups, return_inverse=True)[1]
        number = int(members.max()) + 1
        if number == 1:
            return float(differences.mean()), math.inf
        quantile = float(special.stdtrit(number - 1, level)) * math.sqrt(number / (number - 1))
        return float(differences.mean()), quantile / QUANTILE * margin(differences, members)
    quantile = float(special.ndtri(level))
    better, worse, count = (one & ~other).sum() + 0.5, (other & ~one).sum() + 0.5, len(one) + 2.0
    difference = float(better - worse) / count
    return difference, quantile * math.sqrt(max(better + worse - count * difference**2, 0.0)) / count
