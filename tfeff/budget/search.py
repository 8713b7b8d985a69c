"""A budget search: the competition, the prospects of the choice, and its delivery."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tfeff import config, training
from tfeff.budget.competition import Competition, Measures
from tfeff.budget.delivery import TEACHERS, Delivered, NotDeliveredError, deliver, teach
from tfeff.budget.labels import Labels, ToLabel
from tfeff.budget.limits import Costs, remaining
from tfeff.budget.prospects import Prospects, label_gain, prospects
from tfeff.budget.race import Stopwatch
from tfeff.budget.study import Fate, Study
from tfeff.budget.teachers import Teacher, teacher
from tfeff.budget.verification import is_objective
from tfeff.errors import DivergedError, Interrupted, UserError
from tfeff.execution.executor import Executor
from tfeff.training import Reporter
from tfeff.trials.ranking import Ranking
from tfeff.trials.results import Block
from tfeff.trials.runner import running
from tfeff.trials.store import Records, TrialStore
from tfeff.trials.trial import Candidate, Trial

STORE, BEST, ELAPSED, IMAGE_SIZE = config.SEARCH_FILE, "best", "elapsed seconds", "image size"
FREE = (
    *("budget.", "objective.", "forecast", "distill", "trials.attempts", "folds.seeds"),
    *("experiment.data.test_split", "experiment.data.unlabeled", "experiment.training.strategy"),
    *(f"candidates.{each.name}" for each in dataclasses.fields(config.Candidates) if each.name != "training"),
)
"""Keys that select trials or evaluate their results. No trial depends on them, so a search can resume with others."""


class Stopped(Interrupted):
    """Ctrl-C or SIGTERM stopped a search which has a best network, but has not begun to train the choice.

    Args:
        stop: the interruption, of a search or of a training.
        best: the best network so far, in words.
        minutes: a value of `budget.minutes` with which the search, resumed, ends with this network.
    """

    def __init__(self, stop: Interrupted, best: str, minutes: float) -> None:
        super().__init__(stop.signal_number, str(stop))
        self.best, self.minutes = best, minutes


@dataclass(frozen=True)
class Moments:
    """Seconds of the search until the training of the choice began, until it was delivered, and until the end."""

    choice: float
    delivered: float
    end: float


@dataclass(frozen=True)
class Findings:
    """The outcome of a search.

    Attributes:
        screened: id -> accuracy of its probe, of a detector the metric after its short training.
        fates: id -> what became of it, for all networks.
        candidates: id -> how it was trained, for those that were.
        table: id -> fold -> value, on the folds on which the networks were compared.
        ranking: ranking of the candidates that were left.
        measured: id -> costs in the exported form, where they were measured.
        delivered: the choice, trained on all training images.
        complete: whether they were trained on all folds.
        pace: share of the epochs of the rules for which the candidates were trained on folds.
        prospects: what more images and compute would bring; None if that is not known.
        no_forecast: why it is not known; empty if it is, or if `forecast` is off.
        labels: labels that look wrong; None if there was no time to find out, and for detectors.
        moments: how long the search took.
        failed: the trainings on folds that failed, with their errors.
        to_label: which images to label next; None if there are none without labels.
    """

    study: Study
    screened: Mapping[str, float]
    fates: Mapping[str, Fate]
    candidates: Mapping[str, Candidate]
    table: Mapping[str, Mapping[Block, float]]
    ranking: Ranking
    measured: Mapping[str, Costs]
    delivered: Delivered
    complete: bool
    pace: float
    prospects: Prospects | None
    no_forecast: str
    labels: Labels | None
    moments: Moments
    failed: Sequence[Mapping[str, Any]] = ()
    to_label: ToLabel | None = None


def open_store(directory: Path, settings: config.BudgetSearch | None) -> TrialStore:
    """Returns the store in the workdir of a search; None opens an existing one with any config."""
    return TrialStore(directory / STORE, settings, FREE)


def watch(store: TrialStore) -> Stopwatch:
    """Returns the time that the search has taken so far."""
    return Stopwatch(float(store.fact(ELAPSED) or 0.0), lambda seconds: store.write_fact(ELAPSED, str(seconds)))


def image_size(store: TrialStore) -> int | None:
    """Returns the size at which the trials of a search loaded the images; None if they have not begun."""
    stored = store.fact(IMAGE_SIZE)
    return int(stored) if stored is not None and stored.isdigit() else None


def run(
    study: Study,
    directory: Path,
    store: TrialStore,
    executor: Executor,
    console: Console,
    measures: Measures,
    watch: Stopwatch,
) -> Findings:
    """Runs a search to the end, resuming from the store.

    Args:
        measures: exports networks and times them.
        watch: time since the search began.

    Raises:
        UserError: the images have changed since the first trial, every candidate failed, or no network meets the budget
            when it is exported.
        Interrupted: after Ctrl-C or SIGTERM; finished trials are stored. `Stopped` before the training of the choice.
    """
    settings = study.settings
    _claim(study, store)
    with running(settings, study.fingerprint, study.objective, directory, store, executor, console) as runner:
        runner.on_check = watch.tick
        typical = study.candidate(study.typical)
        trial = Trial(typical.experiment)
        reference = trial.on_fold(settings.folds, fold=0, seed=0)
        precision = runner.resolve(trial, reference, typical.label).training.precision
        competition = Competition(study, store, executor, runner, precision, measures, watch)
        try:
            competition.screen()
            competition.compete()
            ranking = competition.ranking()
            executor.release()  # the choice is trained in this process, with all memory and devices
            began = competition.time.moment("choice")
            delivered = _deliver(competition, ranking, directory / BEST)
            ready = competition.time.moment("delivery")
            labels = label_gain(competition) if settings.forecast else None  # which costs least
            found = prospects(competition, delivered.name) if settings.forecast else ""
            moments = Moments(began, ready, competition.time.moment("end"))
        except Interrupted as stop:
            raise _stopped(competition, stop) from None
        finally:
            watch.save()
    return Findings(
        study=study,
        screened=competition.screened,
        fates=competition.fates,
        candidates=competition.candidates,
        table=competition.table(list(competition.candidates), competition.compared),
        ranking=ranking,
        measured=competition.measured,
        delivered=delivered,
        complete=competition.complete,
        pace=competition.pace,
        prospects=found if isinstance(found, Prospects) else None,
        no_forecast=found if isinstance(found, str) else "",
        labels=labels,
        moments=moments,
        failed=Records(store.records()).failed,
    )


def _stopped(competition: Competition, stop: Interrupted) -> Interrupted:
    """Returns the interruption of a search, as `Stopped` if other minutes can end it with the best network so far.

    Once the choice is being trained, its epochs may be those of these minutes alone: only the same command continues.
    """
    best = competition.best_so_far()
    if not best or competition.time.reached("choice"):
        return stop
    # Rounded down, so that they are over when the search resumes.
    return Stopped(stop, best, max(0.01, math.floor(competition.time.seconds / 0.6) / 100))


def _claim(study: Study, store: TrialStore) -> None:
    """Stores what all trials depend on beyond the config.

    Raises:
        UserError: the size of the images, or the weights of a start, have changed since the first trial.
    """
    facts = {IMAGE_SIZE: str(study.settings.experiment.data.image_size)}
    for name in study.shortlist:
        start = study.networks[name].start
        if start.kind == "run":
            changed = training.Workdir(str(start.model.weights)).final.stat()
            facts[f"weights of {start.model.weights}"] = f"{changed.st_size} {changed.st_mtime_ns}"
    for name, now in facts.items():
        stored = store.fact(name)
        if stored not in (None, now):
            raise UserError(
                f"the trials in {store.path} had another {name} ({stored}; now {now}); choose another --workdir, or "
                "restore data.image_size and candidates.starts"
            )
        store.write_fact(name, now)


class _Reporter(Reporter):
    """Reporter of a training in this process, which also counts as time of the search if it is killed.

    Args:
        tick: called repeatedly.
        console: the console to write to.
    """

    def __init__(self, tick: Callable[[], None], console: Console) -> None:
        super().__init__(console)
        self._tick = tick

    def advance(self, step: int, images_per_second: float, loss: float) -> None:
        """Updates the training bar."""
        super().advance(step, images_per_second, loss)
        self._tick()

    def epoch(self, row: dict[str, Any], epochs: int) -> None:
        """Writes the metrics of an epoch."""
        super().epoch(row, epochs)
        self._tick()


def _deliver(competition: Competition, ranking: Ranking, workdir: Path) -> Delivered:
    """Trains the choice on all training images, exports, measures and verifies it; the next one if that fails.

    It also fails if the exported network is less accurate than the trained one and another network may be better than
    that, unless networks are compared by another metric. If all that were left miss the budget, those that were dropped
    as worse are next.

    Raises:
        UserError: none meets it.
    """
    fitted, misses, trained = competition.fitted(), list[str](), list[str]()
    means = {} if fitted is None else fitted.means
    delivered, expected = dict[str, Delivered](), dict[str, float]()
    for name in dict.fromkeys((*ranking.preferred, *competition.reserves())):
        mean = means.get(name, -math.inf)
        if expected and not (mean > max(expected.values()) and _has_time(competition, name)):
            continue
        label = competition.candidates[name].label
        try:
            found = delivered[name] = _attempt(competition, name, workdir, trained)
        except NotDeliveredError as error:
            misses.append(f"{label}: {error}")
            continue
        loss, expected[name] = found.verified.loss, mean
        if not (is_objective(competition.study) and loss.matters(competition.study)):
            break
        expected[name] -= loss.value
        competition.runner.progress.say(f"{label}: {_lossy(found)}")
    if not expected:
        raise UserError(f"config: budget: no candidate meets it when it is exported: {'; '.join(misses)}")
    best = max(expected, key=expected.__getitem__)
    again = trained[-1] != best  # another one is in its place
    found = _attempt(competition, best, workdir, trained) if again else delivered[best]
    dropped = competition.fates.get(best)
    competition.fates |= {name: Fate("exported", _lossy(each)) for name, each in delivered.items()}
    competition.fates[best] = Fate("chosen", "the choice")
    for name in ranking.order:
        reason = "not the best by its mean over the folds"
        if name == ranking.best:
            reason = "a cheaper network loses less than objective.margin"
        competition.fates.setdefault(name, Fate("beaten", reason))
    before = None if dropped is None else dropped.reason
    return dataclasses.replace(found, dropped=before, others=len({*trained} - {best}))


def _lossy(delivered: Delivered) -> str:
    return f"when it is exported, it loses {delivered.verified.loss.text}"


def _has_time(competition: Competition, name: str) -> bool:
    """Returns whether a network can be trained in time instead of those that lose accuracy by the export."""
    decision = functools.partial(competition.time.has_time_for_choice, name)
    return bool(competition.time.decide(f"{name} after a loss by the export", decision))


def _attempt(competition: Competition, name: str, workdir: Path, trained: list[str]) -> Delivered:
    """Trains a candidate on all training images, exports, measures and verifies it.

    Args:
        trained: candidates that were trained for this, one after the other; this one is added if it is or was.

    Raises:
        NotDeliveredError: its training diverges, it cannot be exported, or it misses the budget; its fate says so.
    """
    study, label, say = competition.study, competition.candidates[name].label, competition.runner.progress.say
    taught = _teacher(competition, name)
    pace = competition.time.stored_pace_of_choice(name, taught=taught is not None)
    measured = None if pace is None else competition.measures.known(_costs_key(competition, name, pace, taught))
    if measured is None and not competition.fits(name):
        raise NotDeliveredError(competition.fates[name].reason)
    trained.append(name)
    excess = None if measured is None else study.bounds.exceeded(measured)
    if excess is None:
        run = None if taught is None else _train_teacher(competition, taught, workdir.parent / TEACHERS)
        if run is None:
            taught = None
        say(f"training the choice, {label}")
        pace = competition.time.pace_of_choice(name, taught=run is not None)
        reporter = _reporter(competition)
        try:
            exported, evaluation, verified = deliver(
                study, name, competition.precision, pace, workdir, reporter, competition.store, run
            )
        except NotDeliveredError as error:
            competition.drop(name, "failed", f"trained on all images: {error}")
            say(f"{label}: {error}")
            raise
        found = competition.measures.exported(exported, _costs_key(competition, name, pace, taught))
        costs = competition.measured[name] = {**study.costs[name], **found}
        excess = study.bounds.exceeded(costs)
        if excess is None:
            errors = remaining(study.errors[name], found)
            if name == competition.alone:
                competition.time.trained_alone(name, pace)
            return Delivered(name, workdir, exported, costs, errors, evaluation, verified, pace, taught)
    competition.drop(name, "measured", f"trained, exported and measured: {excess.text}")
    say(f"{label} misses the budget: exported, it has {excess.text}")
    raise NotDeliveredError(excess.text)


def _reporter(competition: Competition) -> "_Reporter":
    """Returns a reporter on the console of the search, so that the bars of both are shown together."""
    return _Reporter(competition.runner.on_check, competition.runner.progress.console)


def _costs_key(competition: Competition, name: str, pace: float, taught: Teacher | None) -> str:
    """Returns the name under which the costs of a choice are stored; those of a detector depend on its weights."""
    by = "" if taught is None else f", taught by {taught.name}"
    return f"{competition.candidates[name].name}, pace {pace:g}{by}"


def _teacher(competition: Competition, name: str) -> Teacher | None:
    """Returns the network that should teach a choice; None if there is none or no time for one."""
    if not competition.study.settings.distill:
        return None
    found = teacher(competition, name)
    if found is None:
        competition.runner.progress.say(
            "no teacher: no better or larger network can be trained in the time that is left"
        )
    return found


def _train_teacher(competition: Competition, found: Teacher, directory: Path) -> Path | None:
    """Trains a teacher, and returns its workdir; None if its training diverges."""
    label = competition.study.networks[found.name].label
    competition.runner.progress.say(f"training the teacher, {label}: {found.why}")
    try:
        return teach(competition.study, found.name, competition.precision, directory, _reporter(competition))
    except DivergedError as error:
        competition.runner.progress.say(f"no teacher: {error}")
        return None
