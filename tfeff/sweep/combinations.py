"""Combinations of values of a sweep's axes, and the samplers that propose them."""

import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfeff.config import Axis, Sampler
from tfeff.errors import UserError

NAME_LENGTH = 80
"""Maximum number of characters of a combination's name."""

Scores = Callable[[Sequence["Combination"]], Mapping[str, float | None]]
"""Trains some combinations; returns name -> value to maximize, None if the training failed."""


@dataclass(frozen=True)
class Combination:
    """One value for each axis, by key, as in --config.KEY=VALUE."""

    values: Mapping[str, str]

    @property
    def assignments(self) -> list[str]:
        """`key=value` of each axis."""
        return [f"{key}={value}" for key, value in self.values.items()]

    @property
    def label(self) -> str:
        """Short keys and values, for tables and figures.

        >>> Combination({"model.dropout": "0.2", "optimizer.frozen": "stem*,stage1*"}).label
        'dropout 0.2, frozen stem*,stage1*'
        """
        short = short_keys(list(self.values))
        return ", ".join(f"{short[key].replace('_', ' ')} {value}" for key, value in self.values.items())

    @property
    def name(self) -> str:
        """A name that is valid as a file name, unique also among those of other axes.

        >>> Combination({"model.dropout": "0.2"}).name, Combination({"optimizer.frozen": "stem*"}).name
        ('model.dropout=0.2', 'optimizer.frozen=stem--f4740222')
        """
        whole = ",".join(self.assignments)
        safe = re.sub(r"[^A-Za-z0-9.,=_+-]", "-", whole)
        if safe == whole and len(safe) <= NAME_LENGTH:
            return safe
        return f"{safe[:NAME_LENGTH]}-{zlib.crc32(whole.encode()):08x}"


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Returns the shortest ends of dotted keys that differ.

    >>> short_keys(["model.dropout", "optimizer.name", "schedule.name"])
    {'model.dropout': 'dropout', 'optimizer.name': 'optimizer.name', 'schedule.name': 'schedule.name'}
    """
    short = {}
    for key in keys:
        parts = key.split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))
        short[key] = next(
            end
            for end in ends
            if end == key or not any(f".{other}".endswith(f".{end}") for other in keys if other != key)
        )
    return short


def listed(axes: Sequence[Axis], sampler: Sampler, seed: int) -> list[Combination]:
    """Returns the combinations of a sampler that does not wait for results.

    These are a grid, whose axes are lists, or random combinations.

    Raises:
        UserError: the axes have fewer combinations than the sampler should draw.
    """
    if sampler.name == "grid":
        grid = itertools.product(*(axis.choices for axis in axes))
        return [Combination({axis.key: value for axis, value in zip(axes, point, strict=True)}) for point in grid]
    generator, found = np.random.default_rng(seed), dict[str, Combination]()
    for _ in range(100 * sampler.candidates):
        drawn = Combination({axis.key: _drawn(axis, generator) for axis in axes})
        found.setdefault(drawn.name, drawn)
        if len(found) == sampler.candidates:
            return list(found.values())
    raise UserError(
        f"config: sampler.candidates is {sampler.candidates}, but the axes have only {len(found)} combinations; lower "
        "it or use sampler.name=grid"
    )


def bayesian(axes: Sequence[Axis], sampler: Sampler, seed: int, scores: Scores) -> Iterator[list[Combination]]:
    """Yields combinations that Optuna's tree-structured Parzen estimator proposes, batch after batch.

    The same results lead to the same proposals, so a resumed sweep proposes what it has already trained.

    Yields:
        All combinations so far, without repetitions, after each batch.

    Raises:
        UserError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError('sampler.name=bayesian requires Optuna: pip install "tfeff[bayesian]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {axis.key: _distribution(optuna.distributions, axis) for axis in axes}
    estimator = optuna.samplers.TPESampler(seed=seed, n_startup_trials=2 * sampler.batch, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=estimator)
    found = dict[str, Combination]()
    for start in range(0, sampler.candidates, sampler.batch):
        asked = [study.ask(space) for _ in range(min(sampler.batch, sampler.candidates - start))]
        proposed = [Combination({axis.key: _text(axis, trial.params[axis.key]) for axis in axes}) for trial in asked]
        values = scores(list({each.name: each for each in proposed}.values()))
        for trial, combination in zip(asked, proposed, strict=True):
            value = values[combination.name]
            state = optuna.trial.TrialState.FAIL if value is None else None
            study.tell(trial, value, state)
            found[combination.name] = combination
        yield list(found.values())


def _drawn(axis: Axis, generator: np.random.Generator) -> str:
    if axis.choices:
        return axis.choices[int(generator.integers(len(axis.choices)))]
    return axis.text(float(generator.random()))


def _distribution(distributions: Any, axis: Axis) -> Any:
    if axis.choices:
        return distributions.CategoricalDistribution(axis.choices)
    if axis.whole:
        return distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return distributions.FloatDistribution(axis.low, axis.high, log=axis.log)


def _text(axis: Axis, value: object) -> str:
    return axis.written(value) if isinstance(value, float) and not axis.choices else str(value)
