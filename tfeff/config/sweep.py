"""The config of a sweep: one training run for each combination of values of some keys."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tfeff.config.schema import Experiment
from tfeff.config.search import Allocation, Folds, Objective, Trials, check_trials
from tfeff.config.section import Positive, Section, from_dict, names_first, parse, put, to_dict
from tfeff.errors import UserError

SHARED = (
    "seed",
    "task.name",
    "training.epochs",
    "training.validation_epochs",
    "training.monitor",
    "training.keep",
    "training.early_stopping_epochs",
)
"""Keys that must be the same for all candidates, or they could not be compared: on the images by which candidates are
compared, the best of several epochs wins against the last one."""
FREE_OF_DATA = ("image_size", "channels", "class_balanced")
"""Keys of `data` that may vary, because they leave the choice of images the same."""


@dataclass(frozen=True)
class Axis:
    """The values of one key.

    Attributes:
        key: dotted key of the experiment.
        choices: its values as in --config.KEY=VALUE; empty for a range.
        low: smallest value of a range.
        high: largest value of a range.
        log: whether the logarithm is uniform over the range.
        whole: whether the values of a range are integers.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def text(self, position: float) -> str:
        """Returns the value at a position in [0, 1] of a range, as in --config.KEY=VALUE.

        >>> Axis.parse("x=1e-4~1e-2").text(0.5), Axis("x", low=8, high=16, whole=True).text(0.99)
        ('0.001', '16')
        """
        if self.whole and not self.log:
            return str(min(int(self.high), int(self.low + position * (self.high - self.low + 1))))
        value = (
            self.low * (self.high / self.low) ** position if self.log else self.low + position * (self.high - self.low)
        )
        return str(round(value)) if self.whole else self.written(value)

    def written(self, value: float) -> str:
        """Returns a number of a range with four digits, or with more if it would lie outside.

        >>> Axis("x", low=0.999, high=0.99999).written(0.99999), Axis("x", low=1, high=2).written(4 / 3)
        ('0.99999', '1.333')
        """
        texts = (f"{value:.{digits}g}" for digits in range(4, 18))
        return next((text for text in texts if self.low <= float(text) <= self.high), repr(value))

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """Reads `key=value|value|...` or `key=low..high`, where `~` instead of `..` means a logarithmic scale.

        Raises:
            ValueError: the text has another form.

        >>> Axis.parse("model.dropout=0|0.2").choices, Axis.parse("optimizer.learning_rate=1e-4~1e-2").high
        (('0', '0.2'), 0.01)
        """
        key, equals, values = (part.strip() for part in text.partition("="))
        if not key or not equals or not values:
            raise ValueError(text)
        for mark in ("~", ".."):
            low, found, high = values.partition(mark)
            if found and "|" not in values:
                try:
                    first, last = float(low), float(high)
                except ValueError:
                    break
                if not first < last or not math.isfinite(last - first) or (mark == "~" and first <= 0):
                    raise ValueError(text)
                return cls(key, low=first, high=last, log=mark == "~")
        choices = tuple(part.strip() for part in values.split("|"))
        if len(set(choices)) != len(choices) or not all(choices):
            raise ValueError(text)
        return cls(key, choices)


@dataclass(frozen=True, kw_only=True)
class Sampler(Section):
    """Which combinations of values are tried."""

    name: Literal["grid", "random", "bayesian"] = "grid"
    """`grid`: all combinations. `random`: independent draws (Bergstra and Bengio 2012). `bayesian`: the tree-structured
    Parzen estimator (Bergstra et al. 2011), which proposes combinations near the best so far; requires the extra
    `bayesian`."""
    candidates: Positive[int] = 20
    """Combinations to try (not with `grid`)."""
    batch: Positive[int] = 4
    """For `bayesian`: combinations that are proposed together, from the results of the earlier ones."""


@dataclass(frozen=True, kw_only=True)
class Sweep(Section):
    """A complete sweep. All combinations are trained on the same folds and compared within them."""

    IS_WHOLE = True

    experiment: Experiment = field(default_factory=Experiment)
    """The training run; its other keys are the same for all candidates."""
    axes: tuple[str, ...] = ()
    """The keys that vary, with their values: `("model.dropout=0|0.2|0.5", "optimizer.learning_rate=1e-4~1e-2")`.
    Values are written as in --config.KEY=VALUE, separated by `|`; or two numbers with `..` (uniform) or `~` (uniform
    logarithm) between them, from which the random and the Bayesian sampler draw."""
    sampler: Sampler = field(default_factory=Sampler)
    folds: Folds = field(default_factory=lambda: Folds(kind="classic", examples=None))
    trials: Trials = field(default_factory=lambda: Trials(batch_size="fixed", learning_rate="fixed"))
    """`batch_size` must be `fixed`, `learning_rate` `fixed` or `range_test`."""
    allocation: Allocation = field(default_factory=Allocation)
    objective: Objective = field(default_factory=Objective)

    def _check(self) -> None:
        """Rejects values that contradict each other, and values of axes that the experiment does not accept."""
        axes = self.parsed
        for axis in axes:
            self._check_axis(axis)
        keys = [axis.key for axis in axes]
        if not keys or len(set(keys)) != len(keys):
            self.wrong("axes", "at least one key=value|value, each key once")
        sampler, trials, data = self.sampler, self.trials, self.experiment.data
        if sampler.name == "grid" and any(not axis.choices for axis in axes):
            sampler.wrong("name", '"random" or "bayesian", because an axis is a range of numbers')
        if sampler.name == "bayesian" and self.allocation.name != "full":
            self.allocation.wrong("name", '"full" with the Bayesian sampler, which compares fully trained candidates')
        if "data.channels" in keys and data.normalization == "dataset":
            data.wrong("normalization", '"family" in a sweep over data.channels')
        if trials.batch_size != "fixed":
            trials.wrong("batch_size", '"fixed" in a sweep')
        if trials.learning_rate not in ("fixed", "range_test"):
            trials.wrong("learning_rate", '"fixed" or "range_test" in a sweep')
        if trials.learning_rate != "fixed" and "optimizer.learning_rate" in keys:
            trials.wrong("learning_rate", '"fixed": the axes contain optimizer.learning_rate')
        check_trials(self.experiment, self.folds, trials, self.allocation, "sweep")

    @property
    def parsed(self) -> tuple[Axis, ...]:
        """The axes."""
        parsed = []
        for text in self.axes:
            try:
                axis = Axis.parse(text)
                parsed.append(dataclasses.replace(axis, whole=not axis.choices and not self._takes_fractions(axis.key)))
            except ValueError:
                self.wrong("axes", f"key=value|value|... or key=low..high or key=low~high; {text!r} is not")
        return tuple(parsed)

    def member(self, assignments: Sequence[str]) -> Experiment:
        """Returns the experiment with some values replaced, `key=value` each.

        Raises:
            UserError: an unknown key, or a value that is not accepted.
        """
        values = to_dict(self.experiment)
        pairs = (assignment.partition("=")[::2] for assignment in assignments)
        for key, text in sorted(pairs, key=lambda pair: names_first(pair[0])):
            put(Experiment, values, key.split("."), text, parse)
        changed: Experiment = from_dict(Experiment, values)
        return changed

    def _takes_fractions(self, key: str) -> bool:
        try:
            put(Experiment, to_dict(self.experiment), key.split("."), "0.5", parse)
        except UserError:
            return False
        return True

    def _check_axis(self, axis: Axis) -> None:
        section, _, key = axis.key.partition(".")
        if axis.key in SHARED or (section == "data" and key not in FREE_OF_DATA):
            raise UserError(f"config: axes: {axis.key} must be the same for all candidates; remove it")
        if section == "member":
            raise UserError(
                f"config: axes: {axis.key} cannot vary; vary the keys of model, or compare members of a family with "
                "members.phis of a search"
            )
        if axis.whole and not (axis.low.is_integer() and axis.high.is_integer()):
            raise UserError(f"config: axes: {axis.key} is a whole number; its range should begin and end with one")
        texts = dict[str, str]()
        for text in axis.choices or (axis.text(0.0), axis.text(1.0)):
            try:
                member = repr(self.member([f"{axis.key}={text}"]))
            except UserError as error:
                raise UserError(f"config: axes: {axis.key}={text}: {str(error).removeprefix('config: ')}") from None
            if axis.choices and (same := texts.setdefault(member, text)) != text:
                raise UserError(f"config: axes: {axis.key}={text} is the same value as {same}; remove one")
