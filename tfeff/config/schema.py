"""The sections of an experiment and every key that they take.

Each section is a frozen dataclass: a key that is not written here is an error that names the nearest one, a value of
another type an error that names the key. `None` means "as the part itself decides" (the family's own dropout, say).
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from tfeff.config.section import Section, at_least, fraction, positive
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.policy import Augmentation
from tfeff.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Model(Section):
    """A network of `tfeff.models`: what `tfeff.models.build` takes."""

    name: str = "resnet"
    family: str | None = None
    """The workdir of a `tfeff.search`: the network is the member `phi` of the family that was found there, and only
    `dropout`, `survival_probability` and `weights` are still to be said."""
    phi: float | None = None
    """φ of the member: depth α^φ, width β^φ, resolution γ^φ; None: 0, the baseline."""
    resolution: int | None = None
    width_coefficient: float | None = None
    depth_coefficient: float | None = None
    width: int | None = None
    """Channels of the first stack (`resnet`)."""
    stage_blocks: tuple[int, ...] | None = None
    """Blocks of each stack (`resnet`)."""
    stem: str | None = None
    """`3x3` at stride 1, or `7x7` at stride 2 with max-pooling (`resnet`)."""
    batch_norm: bool | None = None
    dropout: float | None = None
    """Share of the head's inputs dropped at training."""
    survival_probability: float | None = None
    """Of the last block; 1 at the first, linear in between (stochastic depth, arXiv:1603.09382)."""
    weights: str | None = None
    """A file of weights to start from, or `imagenet`."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "resolution", "width_coefficient", "depth_coefficient", "width")
        fraction(self, "dropout", "survival_probability")
        at_least(self, 0, "phi")
        if self.phi is not None and self.family is None:
            self.wrong("phi", "left out without model.family, whose member it names")

    def options(self) -> dict[str, Any]:
        """What of the network's description is said beside its name, its resolution and its weights."""
        others = ("name", "family", "phi", "resolution", "weights")
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in others}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Data(Section):
    """Where the images come from and what happens to them on the way to the network."""

    source: str = "embedded:digits"
    """`embedded:<name>`, `folder:<directory>`, `tfds:<name>`, or `crops:<name>` of a data set with boxes: its objects,
    some boxes about them, and background. To localise, a data set with boxes itself: `voc:<directory>`,
    `yolo:<directory>`, `coco:<directory>`, `tfds:<name>` or `embedded:single_digits`."""
    crop_context: float = 0.0
    """With `crops:`, what is shown around a box on each side, as a share of that side."""
    directory: str | None = None
    """Where TensorFlow Datasets keeps what it has prepared (`tfds:`); None: its default."""
    download: bool = False
    """Let TensorFlow Datasets download and prepare what is not there."""
    channels: int = 3
    """3 (RGB) or 1 (gray)."""
    image_size: int | None = None
    """Side in pixels to which each image is brought once, at loading; the batch is resized from there to the model's
    resolution on the fly. None: the images' own size where they share one, else the model's resolution."""
    train_split: str = "train"
    validation_split: str | None = None
    """A split of the source; None: its own `validation` split if it has one, else a part held out of the training split
    (`validation_fraction`)."""
    test_split: str | None = "test"
    validation_fraction: float = 0.1
    """Stratified share of the training split held out when there is no validation split. 0: no validation, unless
    `validation_split` names one."""
    seed: int | None = None
    """Of what is drawn from the images: splits of a folder without its own, `train_examples`, the part held out, folds.
    None: the experiment's; another one repeats a training on the same images."""
    train_examples: int | None = None
    """A stratified subset of the training split, drawn by the seed."""
    folds: int | None = None
    """k of k-fold cross-validation over the training split; `fold` is the one held out."""
    fold: int = 0
    fold_examples: int | None = None
    """With `folds`: k disjoint subsets of so many images each instead, every one with a `validation_fraction` of its
    own held out; `fold` is the one to train on. None: classic k-fold, whose training parts overlap."""
    cache: Literal["memory", "disk", "none"] = "memory"
    """Where decoded images of `image_size` wait: in memory, in a memory-mapped file, or decoded at each reading."""
    cache_directory: str | None = None
    corrupt_images: Literal["error", "skip"] = "error"
    class_balanced: bool = False
    """Draw each class equally often."""
    normalization: Literal["family", "dataset"] = "family"
    """Per-channel mean and deviation inside the model: the family's own, or the training images'."""
    mean: tuple[float, ...] | None = None
    """Per channel, in pixel units, with `std`: in place of what `normalization` says."""
    std: tuple[float, ...] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    box_augmentation: BoxAugmentation = field(default_factory=BoxAugmentation)
    """In its place where boxes have to follow."""
    plain_epochs: int = 0
    """Last epochs of the training, in which images are cropped and flipped alone (those with boxes flipped alone), so
    that the network ends on images like those that it will be asked about (Ge et al., "YOLOX", 2021, section 2.1)."""

    def check(self) -> None:
        """Values that no type excludes."""
        at_least(self, 0, "fold", "crop_context", "plain_epochs")
        at_least(self, 2 if self.fold_examples is None else 1, "folds")
        positive(self, "image_size", "train_examples", "fold_examples")
        fraction(self, "validation_fraction")
        if self.channels not in (1, 3):
            self.wrong("channels", "1 (gray) or 3 (RGB)")
        for key in ("mean", "std"):
            given = getattr(self, key)
            if (self.mean is None) != (self.std is None) or (given is not None and len(given) != self.channels):
                self.wrong(key, f"given with the other one, {self.channels} numbers each, or none")
        varies = self.augmentation != self.augmentation.plain or self.box_augmentation != self.box_augmentation.plain
        if self.plain_epochs and not varies:
            self.wrong("plain_epochs", "0 where augmentation varies nothing but crops and flips")
        if self.std is not None and min(self.std) <= 0:
            self.wrong("std", "numbers above 0")
        if self.folds is not None and self.fold >= self.folds:
            self.wrong("fold", f"below folds = {self.folds}")
        if self.folds is not None and self.validation_split is not None:
            self.wrong("validation_split", "left out under folds: the fold is the validation part")
        if self.fold_examples is not None and self.folds is None:
            self.wrong("fold_examples", "left out without folds, whose size it is")
        if self.fold_examples is not None and not 0 < self.validation_fraction < 1:
            self.wrong("validation_fraction", "above 0 and below 1: the share of each fold that validates")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            self.wrong("seed", "between 0 and 2^32 - 1")
        if self.cache == "disk" and self.cache_directory is None:
            self.wrong("cache_directory", 'a directory, since cache is "disk"')


@dataclass(frozen=True, kw_only=True)
class Task(Section):
    """What the network answers about an image, and what it is trained for."""

    name: Literal["classification", "localization"] = "classification"
    """`classification`: its class. `localization`: class and box of the one object in it."""
    class_weight: float = 1.0
    """Of `localization`: α of the loss α × cross-entropy + β × squared error of the box."""
    box_weight: float = 10.0
    """β; the squared error is the sum over the four sides, in shares of the image's height and width."""
    grid: int = 4
    """Of `localization`: cells each way to which the last feature map is averaged for the box, if it has more."""
    hidden: tuple[int, ...] = (128,)
    """Of `localization`: units of the layers between that grid and the box."""

    def check(self) -> None:
        """Values that no type excludes."""
        at_least(self, 0, "class_weight", "box_weight")
        positive(self, "grid")
        if self.class_weight == 0 and self.box_weight == 0:
            self.wrong("box_weight", "above 0, or class_weight: nothing would be learned")
        for units in self.hidden:
            if units < 1:
                self.wrong("hidden", "numbers above 0")


@dataclass(frozen=True, kw_only=True)
class Optimizer(Section):
    """The update rule; the learning rate is the schedule's peak."""

    name: Literal["sgd", "rmsprop", "adamw", "muon"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    """Of SGD, RMSProp and Muon; AdamW's β1."""
    nesterov: bool = True
    decay: float = 0.9
    """RMSProp's moving average of squared gradients; AdamW and what of it is in Muon use `beta_2`."""
    beta_2: float = 0.999
    epsilon: float | None = None
    """None: 1e-3 for RMSProp (as EfficientNet's training), 1e-7 for AdamW and Muon."""
    weight_decay: float = 0.0
    """Decoupled (arXiv:1711.05101): every step takes learning_rate × weight_decay of each kernel; biases and
    normalisation are left alone. Under SGD with momentum m, an L2 penalty λ is weight_decay = λ / (1 - m)."""
    clip_norm: float | None = None
    """Largest global norm of the gradient."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "learning_rate", "epsilon", "clip_norm")
        at_least(self, 0, "weight_decay")
        fraction(self, "momentum", "decay", "beta_2")


@dataclass(frozen=True, kw_only=True)
class Schedule(Section):
    """The learning rate over time; durations in epochs, fractions allowed."""

    name: Literal["constant", "cosine", "exponential", "step", "plateau"] = "cosine"
    warmup_epochs: float = 0.0
    decay_rate: float = 0.97
    """Factor of `exponential` (each `decay_epochs` after the warm-up), `step` (at each boundary) and `plateau`."""
    decay_epochs: float = 2.4
    boundaries: tuple[float, ...] = ()
    """Epochs at which `step` multiplies by `decay_rate`."""
    patience_epochs: int = 5
    """Epochs without a better validation loss before `plateau` multiplies by `decay_rate`; it is looked at where
    `training.validation_epochs` measures it."""

    def check(self) -> None:
        """Values that no type excludes."""
        at_least(self, 0, "warmup_epochs")
        positive(self, "decay_epochs", "decay_rate", "patience_epochs")
        if list(self.boundaries) != sorted(self.boundaries):
            self.wrong("boundaries", "epochs in rising order")


@dataclass(frozen=True, kw_only=True)
class Training(Section):
    """How long, in what batches, on what devices."""

    epochs: int = 10
    batch_size: int = 128
    """Images an update, over all devices and workers together."""
    accumulation_steps: int = 1
    """Equal parts into which a device cuts its share of the batch; their gradients are summed before the update."""
    label_smoothing: float = 0.0
    ema_decay: float | None = None
    """Exponential moving average of all weights, used for evaluation and export; None: off."""
    validation_epochs: int = 1
    """Measure the validation images every so many epochs, and after the last one. Early stopping, the plateau schedule
    and `keep="best"` look at those epochs alone; their patience still counts all epochs."""
    early_stopping_epochs: int | None = None
    """Stop after so many epochs without a better validation loss, and keep the best epoch's weights."""
    keep: Literal["last", "best"] = "last"
    """Which weights are evaluated and exported: the last epoch's, or those of the best validation loss."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    deterministic: bool = False
    """Bit-identical runs on the same machine, at some cost in speed."""
    strategy: Literal["auto", "single", "mirrored", "multi_worker"] = "auto"
    synchronized_batch_norm: bool = False
    """Batch statistics over all devices instead of each device's own."""
    xla: bool = False
    checkpoint_seconds: float = 300.0
    """A checkpoint is written at the end of each epoch, and within one after so many seconds."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "epochs", "batch_size", "accumulation_steps", "validation_epochs")
        positive(self, "early_stopping_epochs", "checkpoint_seconds")
        fraction(self, "label_smoothing", "ema_decay")
        if self.batch_size % self.accumulation_steps:
            self.wrong("accumulation_steps", f"a divisor of batch_size = {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class Prediction(Section):
    """How the trained network is asked, when it is evaluated and in its SavedModel."""

    mirrored: bool = False
    """For an image and its mirror image, whose probabilities are averaged: twice the cost of a prediction."""
    shift: int = 0
    """For an image as it is and moved by so many pixels to two sides, averaged too: three times the cost."""

    def check(self) -> None:
        """Values that no type excludes."""
        at_least(self, 0, "shift")


@dataclass(frozen=True, kw_only=True)
class Experiment(Section):
    """Everything that decides the outcome of a run."""

    seed: int = 0
    task: Task = field(default_factory=Task)
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    training: Training = field(default_factory=Training)
    prediction: Prediction = field(default_factory=Prediction)

    def check(self) -> None:
        """Values that no type excludes, or that contradict each other."""
        if not 0 <= self.seed < 2**32:
            self.wrong("seed", "between 0 and 2^32 - 1")
        watches_validation = (
            self.training.early_stopping_epochs is not None
            or self.training.keep == "best"
            or self.schedule.name == "plateau"
        )
        held_out = self.data.validation_split or self.data.folds or self.data.validation_fraction > 0
        if watches_validation and not held_out:
            self.wrong(
                "data.validation_fraction",
                "above 0 (or a validation_split): early stopping, keep=best and the plateau schedule watch the "
                "validation loss",
                value=self.data.validation_fraction,
            )
        if self.schedule.warmup_epochs >= self.training.epochs:
            self.schedule.wrong("warmup_epochs", f"below training.epochs = {self.training.epochs}")
        if self.data.plain_epochs > self.training.epochs:
            self.data.wrong("plain_epochs", f"at most training.epochs = {self.training.epochs}")
        if self.model.weights is not None and self.data.normalization == "dataset":
            self.data.wrong("normalization", '"family" with model.weights, which bring their own preprocessing')
        self._check_task()

    def _check_task(self) -> None:
        if self.task.name == "classification":
            for key in ("class_weight", "box_weight", "grid", "hidden"):
                if getattr(self.task, key) != getattr(Task, key):
                    self.task.wrong(key, 'left out unless task.name is "localization"')
            if self.data.box_augmentation.any:
                raise UserError('config: data.box_augmentation: left out unless task.name is "localization"')
            return
        if self.data.augmentation.any:
            raise UserError(
                "config: data.augmentation: left out where task.name is "
                '"localization"; what data.box_augmentation varies, boxes follow'
            )
        for key in ("mirrored", "shift"):
            if getattr(self.prediction, key):
                self.prediction.wrong(key, "left out for localization: boxes cannot be averaged as probabilities can")
        if self.data.box_augmentation.mosaic:
            raise UserError("config: data.box_augmentation.mosaic: 0 for localization, which sees one object an image")
