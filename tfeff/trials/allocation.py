"""Which trials a search runs next, and which candidates leave early.

Three ways to spend a budget: `Full` trains every candidate on every block to the last epoch; `Halving` trains all a
little and goes on with the better part; `Racing` trains all on few blocks and goes on with those that may still win.

A plan is a pure function of the results so far. Nothing else is remembered, so that a search that was killed goes on as
if it had not been. Several workers finish in any order, therefore a decision is made from a fixed set of results once
all of them are there and never from those that happen to have arrived (as asynchronous halving would): whatever the
order, the same candidates leave, for the same reasons, after the same trials. It follows that a job once planned stays
planned until it has a result, and that a candidate that left never comes back.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfeff.errors import UserError
from tfeff.scaling.statistics import Block, by_fold, extent, interval, number, pooled


@dataclass(frozen=True, order=True)
class Job:
    """Train one candidate on one block up to an epoch, going on from where it stands.

    Attributes:
        candidate: its id.
        fold: number of the fold.
        seed: seed of the training.
        epochs: epoch to train up to, counted from the start of the trial.
    """

    candidate: str
    fold: int
    seed: int
    epochs: int

    @property
    def block(self) -> Block:
        """(fold, seed)."""
        return self.fold, self.seed


Results = Mapping[Job, float | None]
"""Job -> value to maximise; None where it failed for good. NaN and infinities count as failed."""


@dataclass(frozen=True)
class Left:
    """Why a candidate is out.

    Attributes:
        reason: a sentence's worth of words, without a full stop.
        epochs: how far its trials had been trained.
        trials: how many of its trials had ended, failed ones among them.
    """

    reason: str
    epochs: int
    trials: int


@dataclass(frozen=True)
class Plan:
    """What to do next.

    Attributes:
        jobs: those without a result that may run now, in the order to start them. A trial that another worker is
            running is among them.
        left: candidate -> why it is out.
        done: whether nothing remains to be run, now or later.
    """

    jobs: tuple[Job, ...]
    left: Mapping[str, Left]
    done: bool


@dataclass(frozen=True)
class Full:
    """Every candidate on every block to the last epoch.

    Attributes:
        epochs: of every trial.

    Raises:
        UserError: there is no epoch.
    """

    epochs: int

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)

    def plan(self, candidates: Sequence[str], blocks: Sequence[Block], results: Results) -> Plan:
        """What to do next, block after block, so that all candidates can soon be compared.

        Args:
            candidates: their ids, all different.
            blocks: (fold, seed) pairs, all different.
            results: what is known so far.

        Raises:
            ValueError: there are no candidates or no blocks, or some are the same.
        """
        _check(candidates, blocks)
        left: dict[str, Left] = {}
        jobs = _missing(candidates, blocks, self.epochs, results)
        _without_failed(candidates, blocks, self.epochs, _failures(candidates, blocks, self.epochs, results), left)
        return Plan(tuple(jobs), left, not jobs)


@dataclass(frozen=True)
class Halving:
    """Successive halving over epochs (Jamieson & Talwalkar 2015, arXiv:1502.07943).

    All candidates train on all blocks to the first rung; of n, the best ceil(n / reduction) by their mean go on to the
    next, and so forth to the last epoch. Equals of the last survivor go on as well. A candidate that is sure to
    survive, whatever the missing results will be, goes on before they are there.

    Who is better early need not be better late: the first rung has to be long enough for learning curves to have their
    final order, roughly.

    Attributes:
        epochs: of the trials that stay to the end.
        minimum_epochs: length of the first rung.
        reduction: factor by which epochs grow and candidates fall from rung to rung.
        keep_tied: whether those stay too that cannot be told from the last survivor (the 95 % interval of their
            difference over the blocks, with the pooled variance, includes 0). It needs at least two blocks. The
            interval is not adjusted for the number of candidates, since that would keep nearly all.

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
            raise UserError(
                f"halving's minimum_epochs is {self.minimum_epochs}; it has to lie between 1 and epochs, {self.epochs}"
            )
        if self.reduction < 2:
            raise UserError(f"halving's reduction is {self.reduction}; it has to be 2 or more")

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which candidates are compared, and the last one.

        >>> Halving(epochs=27).rungs, Halving(epochs=40, minimum_epochs=5, reduction=2).rungs, Halving(epochs=1).rungs
        ((1, 3, 9, 27), (5, 10, 20, 40), (1,))
        """
        rungs = []
        rung = self.minimum_epochs
        while rung < self.epochs:
            rungs.append(rung)
            rung *= self.reduction
        return (*rungs, self.epochs)

    def plan(self, candidates: Sequence[str], blocks: Sequence[Block], results: Results) -> Plan:
        """What to do next; lower rungs first, since decisions wait for them.

        Args:
            candidates: their ids, all different. Their order decides only what is run first.
            blocks: (fold, seed) pairs, all different.
            results: what is known so far.

        Raises:
            UserError: there is one block, and `keep_tied` needs more.
            ValueError: there are no candidates or no blocks, or some are the same.
        """
        _check(candidates, blocks)
        if self.keep_tied and len(blocks) < 2:
            raise UserError(
                "halving's keep_tied compares candidates over folds and needs 2 of them or more; there is 1"
            )
        jobs: list[Job] = []
        left: dict[str, Left] = {}
        running = list(candidates)
        failed: set[tuple[str, Block]] = set()
        for position, rung in enumerate(self.rungs):
            jobs += _missing(running, blocks, rung, results, failed)
            entered = len(running)
            waiting = bool(jobs)
            failed |= _failures(running, blocks, rung, results)
            running = _without_failed(running, blocks, rung, failed, left)
            if rung == self.epochs:
                break
            if waiting:
                # The next rung alone: who else comes to it, and so who survives it, is not known yet.
                sure = self._sure(running, blocks, rung, results, entered)
                jobs += _missing(sure, blocks, self.rungs[position + 1], results)
                break
            running = self._cut(running, blocks, rung, results, entered, left)
        return Plan(tuple(jobs), left, not jobs)

    def _survivors(self, candidates: int) -> int:
        return -(-candidates // self.reduction)

    def _cut(
        self,
        running: Sequence[str],
        blocks: Sequence[Block],
        rung: int,
        results: Results,
        entered: int,
        left: dict[str, Left],
    ) -> list[str]:
        """Those that go on to the next rung; writes down why the others do not."""
        survivors = self._survivors(entered)
        if len(running) <= survivors:
            return list(running)
        table = tabulate(results, rung, running, blocks)
        layout = pooled(table)
        last = layout.ranking[survivors - 1]

        def stays(name: str) -> bool:
            lead = layout.difference(last, name)
            return lead.mean <= 0.0 or (self.keep_tied and not lead.separated)

        kept = [name for name in running if stays(name)]
        for name in running:
            if name not in kept:
                reason = (
                    f"mean {number(layout.means[name])} after {rung} of {self.epochs} epochs, "
                    f"below the best {len(kept)} of {entered}"
                )
                left[name] = Left(reason, rung, len(blocks))
        return kept

    def _sure(
        self, running: Sequence[str], blocks: Sequence[Block], rung: int, results: Results, entered: int
    ) -> list[str]:
        """Those that survive whatever the missing results will be.

        Enough others have to be below: among candidates without a missing cell the order by plain means is that of
        the adjusted means, whatever the others have; those that failed altogether are below everyone.
        """
        there = _values(results, rung, running, blocks)
        complete = [name for name in running if len(there[name]) == len(blocks)]
        if not complete:
            return []
        layout = pooled(tabulate(results, rung, complete, blocks))
        means = layout.means
        out = entered - len(running)

        def below(name: str) -> int:
            return sum(means[name] - means[other] > layout.resolution for other in complete)

        return [name for name in complete if out + below(name) >= entered - self._survivors(entered)]


@dataclass(frozen=True)
class Racing:
    """Block after block, a candidate leaves once it cannot win (Maron & Moore 1997; Birattari et al. 2002, F-race).

    All candidates are trained to the last epoch on the first blocks. Then those leave that are below the best beyond
    chance, the others meet the next block, and so on. Intervals are adjusted for comparing all candidates that are
    still in the race with the best of them (`statistics.TwoWay.against`), and for the number of times that this is
    done: with normal residuals of one variance the truly best candidate leaves with a probability of at most
    (1 - confidence) / 2. One that remains alone still meets all blocks, so that its mean has the interval of the full
    grid.

    Attributes:
        epochs: of every trial.
        minimum_blocks: blocks that everyone meets before the first comparison, 2 or more.
        confidence: of the intervals of the whole race together, in (0, 1).

    Raises:
        UserError: a number is out of range.
    """

    epochs: int
    minimum_blocks: int = 2
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)
        if self.minimum_blocks < 2:
            raise UserError(
                f"racing's minimum_blocks is {self.minimum_blocks}; "
                "chance can be judged from 2 blocks on, so it has to be 2 or more"
            )
        if not 0.0 < self.confidence < 1.0:
            raise UserError(f"racing's confidence is {self.confidence}; it has to lie between 0 and 1")

    def plan(self, candidates: Sequence[str], blocks: Sequence[Block], results: Results) -> Plan:
        """What to do next; with no more than `minimum_blocks` blocks that is everything.

        Args:
            candidates: their ids, all different. Their order decides only what is run first.
            blocks: (fold, seed) pairs, all different, in the order of the race.
            results: what is known so far.

        Raises:
            ValueError: there are no candidates or no blocks, or some are the same.
        """
        _check(candidates, blocks)
        left: dict[str, Left] = {}
        racing = list(candidates)
        comparisons = len(blocks) - self.minimum_blocks
        jobs: list[Job] = []
        for met in range(min(self.minimum_blocks, len(blocks)), len(blocks) + 1):
            jobs = _missing(racing, blocks[:met], self.epochs, results)
            failed = _failures(racing, blocks[:met], self.epochs, results)
            racing = _without_failed(racing, blocks[:met], self.epochs, failed, left)
            if jobs or met == len(blocks):
                break
            racing = self._drop_beaten(racing, blocks[:met], results, 1.0 - (1.0 - self.confidence) / comparisons, left)
        return Plan(tuple(jobs), left, not jobs)

    def _drop_beaten(
        self,
        racing: Sequence[str],
        blocks: Sequence[Block],
        results: Results,
        confidence: float,
        left: dict[str, Left],
    ) -> list[str]:
        if len(racing) < 2:
            return list(racing)
        table = tabulate(results, self.epochs, racing, blocks)
        layout = pooled(table)
        best = layout.ranking[0]
        lead = layout.against(best, confidence)
        kept = [name for name in racing if name == best or not lead[name].separated]
        for name in racing:
            if name not in kept:
                difference = f"{number(lead[name].mean)}{interval(lead[name], self.confidence)}"
                reason = f"its mean is {difference} below that of {best} over {extent(table[name])}"
                left[name] = Left(reason, self.epochs, len(blocks))
        return kept


Allocation = Full | Halving | Racing


def tabulate(
    results: Results, epochs: int, candidates: Iterable[str], blocks: Sequence[Block]
) -> dict[str, dict[Block, float]]:
    """Candidate -> fold -> value of the trials trained up to an epoch, averaged over seeds.

    Trials that failed or are to come are left out.

    Args:
        results: what is known.
        epochs: which jobs to take.
        candidates: which of them; each has a row, which may be empty.
        blocks: which of them.

    >>> tabulate({Job("a", 0, 0, 5): 0.5, Job("a", 1, 0, 5): None}, 5, ["a", "b"], [(0, 0), (1, 0)])
    {'a': {(0, 0): 0.5}, 'b': {}}
    """
    return {name: by_fold(row) for name, row in _values(results, epochs, candidates, blocks).items()}


def _values(
    results: Results, epochs: int, candidates: Iterable[str], blocks: Sequence[Block]
) -> dict[str, dict[Block, float]]:
    """Candidate -> block -> value of each trial trained up to an epoch."""
    table: dict[str, dict[Block, float]] = {}
    for name in candidates:
        row = ((block, results.get(Job(name, *block, epochs))) for block in blocks)
        table[name] = {block: value for block, value in row if value is not None and math.isfinite(value)}
    return table


def _missing(
    candidates: Sequence[str],
    blocks: Sequence[Block],
    epochs: int,
    results: Results,
    failed: Collection[tuple[str, Block]] = (),
) -> list[Job]:
    """Jobs without a result, block after block, but for trials that failed before."""
    jobs = (Job(name, *block, epochs) for block in blocks for name in candidates if (name, block) not in failed)
    return [job for job in jobs if job not in results]


def _failures(
    candidates: Sequence[str], blocks: Sequence[Block], epochs: int, results: Results
) -> set[tuple[str, Block]]:
    """Trials whose result says that they failed."""
    table = _values(results, epochs, candidates, blocks)
    return {
        (name, block)
        for name in candidates
        for block in blocks
        if block not in table[name] and Job(name, *block, epochs) in results
    }


def _without_failed(
    candidates: Sequence[str],
    blocks: Sequence[Block],
    epochs: int,
    failed: Collection[tuple[str, Block]],
    left: dict[str, Left],
) -> list[str]:
    """Candidates with a trial that did not fail; writes down that the others left."""
    remaining = [name for name in candidates if any((name, block) not in failed for block in blocks)]
    trials = f"all of its {len(blocks)} trials" if len(blocks) > 1 else "its only trial"
    for name in candidates:
        if name not in remaining:
            left[name] = Left(f"{trials} failed", epochs, len(blocks))
    return remaining


def _check(candidates: Sequence[str], blocks: Sequence[Block]) -> None:
    for what, sequence in (("candidates", candidates), ("blocks", blocks)):
        if not sequence or len(set(sequence)) != len(sequence):
            raise ValueError(f"{what} have to be there and different: {list(sequence)}")


def _check_epochs(epochs: int) -> None:
    if epochs < 1:
        raise UserError(f"a trial's epochs are {epochs}; there has to be 1 at least")
