"""The config sections of a search for the best network within a budget."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tfeff.config.schema import Experiment
from tfeff.config.search import Folds, Objective, Trials, check_trials
from tfeff.config.section import Positive, Section
from tfeff.config.tasks import ObjectDetectionSettings
from tfeff.errors import UserError, nearest
from tfeff.networks import architecture
from tfeff.networks.backbones.given import Given
from tfeff.networks.catalog import ALL_DETECTORS
from tfeff.networks.detectors.rcnn import FastRCNN

UNITS: Mapping[str, Mapping[str, float]] = {
    "latency": {"us": 1e-6, "ms": 1e-3, "s": 1.0},
    "size": {"kB": 1e3, "MB": 1e6, "GB": 1e9},
    "macs": {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9},
    "params": {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9},
    "memory": {"kB": 1e3, "MB": 1e6, "GB": 1e9},
}
"""Measure -> unit -> its value in seconds, bytes, multiply-adds or parameters."""
PRECISIONS = ("float32", "bfloat16", "int8")
"""Precisions in which exported models compute."""
REQUIRED_FORMATS: Mapping[str, str] = {"bfloat16": "openvino", "int8": "litert"}
"""Precision -> the only format that can be exported in it. All can in float32."""
UNUSED = "weights", "dropout", "survival_probability", "mean", "std", "bn_momentum", "bn_epsilon", "synchronized"
"""Keys of `experiment.model` that change no cost."""
RELATIVE = "x"
"""Unit of multiples of the baseline's cost."""


def check_precision(precision: str, format: str) -> None:
    """Checks flags of an export.

    Raises:
        UserError: there is no such precision, or another format is required for it.
    """
    if precision not in PRECISIONS:
        raise UserError(f"--precision={precision}: {nearest(precision, PRECISIONS)}")
    if format != (required := REQUIRED_FORMATS.get(precision, format)):
        raise UserError(f"--precision={precision} requires --format={required}")


@dataclass(frozen=True)
class Amount:
    """An upper bound of a cost.

    Attributes:
        value: seconds, bytes, multiply-adds or parameters; if `relative`, a multiple of the baseline's cost.
    """

    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str, measure: str) -> "Amount":
        """Parses a number with a unit of the measure.

        Raises:
            ValueError: the text is no such number.

        >>> Amount.parse("20ms", "latency"), Amount.parse("0.5x", "macs")
        (Amount(value=0.02, relative=False), Amount(value=0.5, relative=True))
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*([A-Za-z]*)\s*", text)
        if match is None or not float(match[1]) > 0:
            raise ValueError(text)
        number, unit = float(match[1]), match[2]
        if unit == RELATIVE:
            return cls(number, relative=True)
        scales = {name.lower(): scale for name, scale in UNITS[measure].items()}
        if unit.lower() not in scales:
            raise ValueError(text)
        return cls(number * scales[unit.lower()], relative=False)


@dataclass(frozen=True, kw_only=True)
class Limits(Section):
    """What the chosen network may cost, and how long the search may take.

    Costs are numbers with a unit, such as `20ms`, `5MB` or `100M`, or multiples of the cost of the baseline
    (`experiment.model`), such as `0.5x`.
    """

    KEY = "budget"

    latency: str | None = None
    """Prediction of one image by the exported model on this machine without other load: `us`, `ms` or `s`."""
    size: str | None = None
    """The exported model on disk: `kB`, `MB` or `GB`."""
    macs: str | None = None
    """Multiply-adds of a forward pass: `k`, `M` or `G`."""
    params: str | None = None
    """Parameters: `k`, `M` or `G`."""
    memory: str | None = None
    """Peak of layer outputs and gradients in a training step, for each image of the batch: `kB`, `MB` or `GB`."""
    minutes: Positive[float] | None = 30.0
    """Time for the search, with the final training. No training begins that is not expected to fit; at least one
    candidate is trained on one fold. None: no limit."""
    format: Literal["saved_model", "litert", "onnx", "openvino"] = "saved_model"
    """The format in which the network is exported and timed, and its size measured."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """In which the exported model computes. `bfloat16` requires `openvino` and a CPU that has it; `int8`, `litert`."""
    threads: Positive[int] | None = None
    """Threads of the exported model. None: all cores."""
    latencies: str | None = None
    """File of `tfeff.summary --latency --out=FILE` from another machine; `latency` then means that machine, which no
    exported model is timed on."""

    def _check(self) -> None:
        for measure, text in self._texts.items():
            try:
                Amount.parse(text, measure)
            except ValueError:
                units = ", ".join(filter(None, UNITS[measure]))
                self.wrong(
                    measure, f"a number above 0 with a unit ({units}), or a multiple of the baseline such as 0.5x"
                )
        required = REQUIRED_FORMATS.get(self.precision, self.format)
        if self.format != required:
            self.wrong("precision", f'"float32", or set budget.format={required}')
        if self.latencies is not None and self.latency is None:
            self.wrong("latencies", "omitted without budget.latency")

    @property
    def _texts(self) -> dict[str, str]:
        return {measure: text for measure in UNITS if (text := getattr(self, measure)) is not None}

    @property
    def form(self) -> str:
        """The exported form in words, such as "litert, int8"."""
        return self.format if self.precision == "float32" else f"{self.format}, {self.precision}"

    @property
    def bounds(self) -> dict[str, Amount]:
        """The bounds that are set, by measure."""
        return {measure: Amount.parse(text, measure) for measure, text in self._texts.items()}

    @property
    def measured(self) -> set[str]:
        """Measures of the bounds that exported models are measured for; a latency on another device is not."""
        return self._texts.keys() & ({"latency", "size"} if self.latencies is None else {"size"})


_DETECTORS = [name for name, each in ALL_DETECTORS.items() if not isinstance(each, FastRCNN)]
"""Those that find their regions themselves."""


@dataclass(frozen=True, kw_only=True)
class Candidates(Section):
    """Which networks compete: every start with every width, depth and resolution, as far as the budget allows."""

    starts: tuple[str, ...] = ()
    """Networks with published weights (`efficientnet-lite0`), and workdirs of finished `tfeff.train` runs. None given:
    all whose weights are installed or were downloaded before. For detectors, they are backbones; of a run of such a
    detector, neck and heads compete, too."""
    detectors: tuple[str, ...] = ()
    """For images with boxes: detectors that compete, such as `yolo,efficientdet-lite0,faster-rcnn`. None given: that of
    `experiment.task`."""
    widths: tuple[float, ...] = (1.0, 0.75, 0.6, 0.5, 0.35)
    """Channels relative to the start's, of a detector also those of neck and heads. Other widths and depths than the
    start's inherit its weights."""
    depths: tuple[float, ...] = (1.0, 0.7, 0.5)
    """Blocks relative to the start's, of a detector also cells of the neck and convolutions of the heads."""
    resolutions: tuple[float, ...] = (1.15, 1.0, 0.85, 0.7, 0.6, 0.5)
    """Sides of the input relative to the start's, of a detector on another backbone to the published detector's,
    rounded to 16 pixels."""
    scratch: bool | None = None
    """Also small ResNets from random weights. None: for detectors, from 500 training images on, or if there is nothing
    else to start from."""
    count: Positive[int] = 24
    """Networks that are probed or trained, spread evenly over start, width, depth and resolution; besides, the largest
    one with the width and depth of `experiment.model`."""
    training: Literal["experiment", "rules"] = "experiment"
    """`experiment`: all networks are trained as `experiment` says. `rules`: as `own_images` chooses for the number of
    images and the network's start, of detectors as `tfeff.recipes.dense`; values of `experiment` that differ from those
    of `own_budget` are kept, and those of `kept`."""
    kept: tuple[str, ...] = ()
    """Keys of `experiment`, such as `training.epochs`, that the rules leave as they are. `own_budget` chooses those
    that are set with --config.KEY=VALUE."""

    def _check(self) -> None:
        for key in ("widths", "depths", "resolutions"):
            values = getattr(self, key)
            if not values or not all(0 < value <= 2 for value in values):
                self.wrong(key, "numbers above 0 and at most 2")
        for name in self.detectors:
            if name not in _DETECTORS:
                self.wrong("detectors", f'names of detectors; there is no "{name}": {nearest(name, _DETECTORS)}')


def unused(key: str) -> UserError:
    """Returns why a key of UNUSED cannot be set."""
    return UserError(
        f"config: experiment.model.{key}: omit it: experiment.model is the baseline that relative bounds refer to; "
        "networks to start from are named by candidates.starts"
    )


@dataclass(frozen=True, kw_only=True)
class BudgetSearch(Section):
    """A search for the best network for some images within a budget.

    Networks are discarded as cheaply as possible. Costs exclude those beyond the budget. A linear probe on their
    features discards the clearly worse classifiers, and a short training the clearly worse detectors. The others are
    trained on a growing number of folds, and discarded when their chance of being within a point (or
    `objective.margin`) of the best is below 5 %. The choice is trained on all training images, exported, and measured
    in this form. Of the images of `experiment.data.unlabeled`, those are listed whose labels would teach it most
    (classifiers).
    """

    IS_WHOLE = True

    experiment: Experiment = field(default_factory=Experiment)
    """The training. Its network is the baseline, which relative bounds refer to."""
    budget: Limits = field(default_factory=Limits)
    candidates: Candidates = field(default_factory=Candidates)
    folds: Folds = field(default_factory=lambda: Folds(kind="classic", count=5, examples=None))
    trials: Trials = field(default_factory=lambda: Trials(batch_size="fixed", learning_rate="fixed"))
    objective: Objective = field(default_factory=Objective)
    distill: bool = False
    """For classifiers: the choice imitates a teacher, also on the images of `experiment.data.unlabeled`. The teacher is
    the best network that the search has seen or, if none is better than the choice, the largest unscaled one of all
    starts. Its training has to fit into the time; its own cost does not matter."""
    forecast: bool = True
    """If time is left, also train the choice on a quarter and on half of the training images of each fold, and forecast
    what more images and more compute would bring; not if trainings on folds were shortened for lack of time."""

    def _check(self) -> None:
        check_trials(self.experiment, self.folds, self.trials, None, "search")
        if self.trials.batch_size != "fixed":
            self.trials.wrong("batch_size", '"fixed": own_budget chooses it for the images')
        if self.trials.learning_rate != "fixed":
            self.trials.wrong("learning_rate", '"fixed"')
        self._check_task()
        self._check_teacher()
        if self.experiment.optimizer.transfer is not None and self.candidates.scratch is not False:
            self.candidates.wrong("scratch", "false: optimizer.transfer needs trained weights")
        if isinstance(self.experiment.model, Given):
            raise UserError("config: experiment.model.name: a network of the package, the baseline of relative bounds")
        self._check_baseline()
        if self.experiment.data.normalization != "family":
            self.experiment.data.wrong("normalization", '"family": that of the weights that a network starts from')

    def _check_baseline(self) -> None:
        """Refuses values of `experiment.model` that would have no effect: it is not the network that is trained."""
        model = self.experiment.model
        published = architecture(model.name, weights="imagenet" if model.weights == "imagenet" else None)
        for key in UNUSED:
            if getattr(model, key, None) != getattr(published, key, None):
                raise unused(key)

    def _check_teacher(self) -> None:
        task, data = self.experiment.task, self.experiment.data
        if task.teachers:
            raise UserError(
                "config: experiment.task.teacher.runs: omit it: a teacher may have seen the images that networks are "
                "validated on. distill=true trains one for the choice"
            )
        if task.teacher_variants is not None:
            raise UserError("config: experiment.task.teacher.variants: omit it: networks compete without a teacher")
        if self.distill:
            self._check_distillation()
        if data.unlabeled is not None and not task.IS_CLASSIFIER:
            data.wrong("unlabeled", "omitted for detectors: classifiers alone name the images to label next")

    def _check_distillation(self) -> None:
        """Refuses what would stop only the training of the choice, with its teacher."""
        task, data, training, update = (
            getattr(self.experiment, each) for each in ("task", "data", "training", "optimizer")
        )
        if not task.IS_CLASSIFIER:
            self.wrong("distill", "false for detectors")
        frees = bool(update.unfreeze) and not update.frozen and self.candidates.training == "rules"
        excluded = {
            "training.resolution_factors": bool(training.resolution_factors),
            "training.rematerialize": training.rematerialize,
            "training.feature_variants": training.feature_variants is not None,
            "training.quantization": training.quantization is not None,
            "data.augment_on_device and data.unlabeled": data.augment_on_device and data.unlabeled is not None,
            "optimizer.unfreeze, unless you set optimizer.frozen": frees,
        }
        for key, used in excluded.items():
            if used:
                self.wrong("distill", f"false with experiment.{key}")

    def _check_task(self) -> None:
        task = self.experiment.task
        if task.IS_CLASSIFIER:
            return  # candidates.detectors: the source, which decides about the task, is not opened here
        if not isinstance(task, ObjectDetectionSettings) or task.network.name not in _DETECTORS:
            task.wrong("name", "classification, yolo, efficientdet, retinanet, faster_rcnn, anchor_yolo or grid")
