"""Plans of which trials run next, and which candidates are eliminated early.

Ways to spend a budget: `Full` trains every candidate on every block to the last epoch, `Lengths` to a last epoch of its
own. `Halving` trains all candidates for a few epochs, and the better ones again for more. `Listed` trains what someone
else has chosen.

A plan is a pure function of the results so far; there is no other state, so an interrupted experiment resumes exactly
where it stopped. Workers finish in any order, so each decision waits for a fixed set of results instead of using those
that happen to have arrived (as asynchronous halving does). In any order, the same candidates are eliminated, for the
same reasons, after the same trials. A planned job therefore stays planned until it has a result, and an eliminated
candidate never comes back.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfeff import config
from tfeff.errors import UserError
from tfeff.trials.intervals import number
from tfeff.trials.results import Block, Job, Results, by_block, by_fold
from tfeff.trials.two_way import fit_two_way


@dataclass(frozen=True)
class Elimination:
    """Why a candidate was eliminated.

    Attributes:
        reason: a clause without a full stop.
        epochs: epochs of its last trials.
        failed: whether all its trials failed.
    """

    reason: str
    epochs: int
    failed: bool = False


@dataclass(frozen=True)
class JobPlan:
    """What to do next.

    Attributes:
        jobs: jobs without a result that may run now, in the order to start them. Jobs that are already running are
            included.
        done: whether no job remains, now or later.
    """

    jobs: tuple[Job, ...]
    eliminated: Mapping[str, Elimination]
    done: bool


@dataclass(frozen=True)
class Full:
    """Every candidate on every block to the last epoch.

    Raises:
        UserError: `epochs` is less than 1.
    """

    epochs: int

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Lengths of its trials."""
        return (self.epochs,)

    def plan(self, candidates: Sequence[str], blocks: Sequence[Block], results: Results) -> JobPlan:
        """Plans block after block, so that all candidates can be compared early.

        Raises:
            ValueError: candidates or blocks are empty or repeated.
        """
        _check(candidates, blocks)
        eliminated: dict[str, Elimination] = {}
        jobs = _missing(candidates, blocks, self.epochs, results)
        failed = _failures(candidates, blocks, self.epochs, results)
        _drop_failed(candidates, blocks, self.epochs, failed, eliminated)
        return JobPlan(tuple(jobs), eliminated, not jobs)


@dataclass(frozen=True)
class Lengths:
    """Every candidate on every block to a last epoch of its own.

    Attributes:
        epochs: candidate -> its last epoch.

    Raises:
        UserError: one of them is less than 1.
    """

    epochs: Mapping[str, int]

    def __post_init__(self) -> None:
        for epochs in self.epochs.values():
            _check_epochs(epochs)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Lengths of its trials."""
        return tuple(sorted(set(self.epochs.values())))

    def plan(self, candidates: Sequence[str], blocks: Sequence[Block], results: Results) -> JobPlan:
        """Plans the next trials, see `Full.plan`."""
        _check(candidates, blocks)
        groups = [[name for name in candidates if self.epochs[name] == epochs] for epochs in self.rungs]
        plans = [Full(self.epochs[group[0]]).plan(group, blocks, results) for group in groups if group]
        order = {(name, block): index for index, (block, name) in enumerate(itertools.product(blocks, candidates))}
        jobs = sorted((job for plan in plans for job in plan.jobs), key=lambda job: order[job.candidate, job.block])
        eliminated = {name: each for plan in plans for name, each in plan.eliminated.items()}
        return JobPlan(tuple(jobs), eliminated, not jobs)


@dataclass(frozen=True)
class Halving:
    """Successive halving over epochs (Jamieson & Talwalkar 2015, arXiv:1502.07943).

    All candidates train on all blocks for the epochs of the first rung. Of n candidates, the best ceil(n / reduction)
    by mean train for those of the next rung, and so on. Candidates whose mean equals that of the last survivor survive,
    too. A candidate that is certain to survive, whatever the missing results are, continues before they arrive.

    Every training starts from initial weights, and its schedule ends at its rung. In the middle of a schedule, the
    learning rate is high, so values are noisy, and networks that learn fast look better than they are. Even so, the
    ranking of short trainings may differ from the final one: choose the first rung long enough.

    Attributes:
        epochs: length of the trials that run to the end.
        minimum_epochs: length of the first rung.
        reduction: factor by which epochs grow and candidates shrink from rung to rung.
        keep_tied: whether candidates that are not separable from the last survivor (the 95 % interval of their
            difference, with the pooled variance, includes 0) continue as well. Needs at least two blocks. The interval
            is not adjusted for the number of candidates, because that would keep nearly all of them.

    Raises:
        UserError: a number is out of range.
    """

    epochs: int
    minimum_epochs: int = 1
    reduction: int = 3
    keep_tied: bool = False

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)
        if not 1 <= self.minimum_epochs <= self.epochs:
            raise UserError(f"halving: minimum_epochs is {self.minimum_epochs}; expected 1 to epochs = {self.epochs}")
        if self.reduction < 2:
            raise UserError(f"halving: reduction is {self.reduction}; expected at least 2")

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which candidates are compared, and the last epoch.

        >>> Halving(epochs=27).rungs, Halving(epochs=40, minimum_epochs=5, reduction=2).rungs, Halving(epochs=1).rungs
        ((1, 3, 9, 27), (5, 10, 20, 40), (1,))
        """
        rungs = []
        rung = self.minimum_epochs
        while rung < self.epochs:
            rungs.append(rung)
            rung *= self.reduction
        return (*rungs, self.epochs)

    def plan(self, candidates: Sequence[str], blocks: Sequence[Block], results: Results) -> JobPlan:
        """Plans lower rungs first, because decisions wait for them. The order of candidates affects that of jobs only.

        Raises:
            UserError: `keep_tied` is set and there is only one block.
            ValueError: candidates or blocks are empty or repeated.
        """
        _check(candidates, blocks)
        if self.keep_tied and len(blocks) < 2:
            raise UserError("halving: keep_tied compares candidates over folds and needs at least 2; there is 1")
        jobs: list[Job] = []
        eliminated: dict[str, Elimination] = {}
        running = list(candidates)
        failed: set[tuple[str, Block]] = set()
        for position, rung in enumerate(self.rungs):
            jobs += _missing(running, blocks, rung, results, failed)
            entered = len(running)
            waiting = bool(jobs)
            failed |= _failures(running, blocks, rung, results)
            running = _drop_failed(running, blocks, rung, failed, eliminated)
            if rung == self.epochs:
                break
            if waiting:
                # Only the next rung: its other candidates, and so its survivors, are not known yet.
                sure = self._sure_survivors(running, blocks, rung, results, entered)
                jobs += _missing(sure, blocks, self.rungs[position + 1], results)
                break
            running = self._survivors(running, blocks, rung, results, entered, eliminated)
        return JobPlan(tuple(jobs), eliminated, not jobs)

    def _survivor_count(self, candidates: int) -> int:
        return -(-candidates // self.reduction)

    def _survivors(
        self,
        running: Sequence[str],
        blocks: Sequence[Block],
        rung: int,
        results: Results,
        entered: int,
        eliminated: dict[str, Elimination],
    ) -> list[str]:
        """Returns the candidates that continue to the next rung; adds the others to `eliminated`."""
        survivors = self._survivor_count(entered)
        if len(running) <= survivors:
            return list(running)
        layout = fit_two_way(by_fold(results, rung, running, blocks))
        best, last = layout.ranking[:survivors], layout.ranking[survivors - 1]

        def survives(name: str) -> bool:
            lead = layout.difference(last, name)
            return name in best or lead.mean <= 0.0 or (self.keep_tied and not lead.separable)

        kept = dict.fromkeys(name for name in running if survives(name))
        for name in running:
            if name not in kept:
                reason = (
                    f"mean {number(layout.means[name])} after {rung} of {self.epochs} epochs, "
                    f"not among the best {len(kept)} of {entered}"
                )
                eliminated[name] = Elimination(reason, rung)
        return list(kept)

    def _sure_survivors(
        self, running: Sequence[str], blocks: Sequence[Block], rung: int, results: Results, entered: int
    ) -> list[str]:
        """Returns the candidates that survive for any values of the missing results.

        Enough others must be worse. Among candidates without a missing cell, the order by plain means equals that by
        adjusted means, whatever the other candidates have. Candidates whose trials all failed rank below everyone.
        """
        values = by_block(results, rung, running, blocks)
        complete = [name for name in running if len(values[name]) == len(blocks)]
        if not complete:
            return []
        layout = fit_two_way(by_fold(results, rung, complete, blocks))
        means = layout.means
        failed = entered - len(running)

        ascending = np.sort(list(means.values()))

        def worse(name: str) -> int:
            return int(np.searchsorted(ascending, means[name] - layout.resolution))

        return [name for name in complete if failed + worse(name) >= entered - self._survivor_count(entered)]


@dataclass(frozen=True)
class Listed:
    """Given trainings to the last epoch, each of one candidate on one block."""

    epochs: int
    trainings: Sequence[tuple[str, Block]]

    @property
    def rungs(self) -> tuple[int, ...]:
        """Lengths of its trials."""
        return (self.epochs,)

    def plan(self, candidates: Sequence[str], blocks: Sequence[Block], results: Results) -> JobPlan:
        """Plans them in their order. No candidate is eliminated."""
        jobs = [Job(name, *block, self.epochs) for name, block in self.trainings]
        missing = tuple(job for job in jobs if job not in results)
        return JobPlan(missing, {}, not missing)


Allocation = Full | Lengths | Halving | Listed


def allocation(section: config.Allocation, epochs: int) -> Allocation:
    """Returns the allocation that a config selects, for trials of `epochs` epochs."""
    if section.name == "halving":
        return Halving(epochs, section.minimum_epochs, section.reduction, section.keep_tied)
    return Full(epochs)


def _missing(
    candidates: Sequence[str],
    blocks: Sequence[Block],
    epochs: int,
    results: Results,
    failed: Collection[tuple[str, Block]] = (),
) -> list[Job]:
    """Returns jobs without a result, block after block, excluding trials that failed at an earlier rung."""
    jobs = (Job(name, *block, epochs) for block in blocks for name in candidates if (name, block) not in failed)
    return [job for job in jobs if job not in results]


def _failures(
    candidates: Sequence[str], blocks: Sequence[Block], epochs: int, results: Results
) -> set[tuple[str, Block]]:
    """Returns trials whose result is a failure."""
    table = by_block(results, epochs, candidates, blocks)
    return {
        (name, block)
        for name in candidates
        for block in blocks
        if block not in table[name] and Job(name, *block, epochs) in results
    }


def _drop_failed(
    candidates: Sequence[str],
    blocks: Sequence[Block],
    epochs: int,
    failed: Collection[tuple[str, Block]],
    eliminated: dict[str, Elimination],
) -> list[str]:
    """Returns candidates with at least one trial that has not failed; adds the others to `eliminated`."""
    remaining = dict.fromkeys(name for name in candidates if any((name, block) not in failed for block in blocks))
    trials = f"all {len(blocks)} trials" if len(blocks) > 1 else "its only trial"
    for name in candidates:
        if name not in remaining:
            eliminated[name] = Elimination(f"{trials} failed", epochs, failed=True)
    return list(remaining)


def _check(candidates: Sequence[str], blocks: Sequence[Block]) -> None:
    for name, sequence in (("candidates", candidates), ("blocks", blocks)):
        if not sequence or len(set(sequence)) != len(sequence):
            raise ValueError(f"{name} must be distinct and not empty: {list(sequence)}")


def _check_epochs(epochs: int) -> None:
    if epochs < 1:
        raise UserError(f"epochs is {epochs}; expected at least 1")
