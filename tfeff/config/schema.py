"""The sections of an `Experiment` and all their keys, except those of task (`config.tasks`) and network (`networks`).

Unknown keys and values of the wrong type are errors that name the key. `None` selects a default that depends on other
settings.
"""

import math
import re
from dataclasses import dataclass, field, replace
from typing import Literal

from tfeff.boxes.tiling import Grid
from tfeff.config.section import Fraction, NotNegative, Positive, Section, choice
from tfeff.config.task_parts import Proposals
from tfeff.config.tasks import TASKS, RCNNSettings, TaskSettings
from tfeff.data.sources.source import Options
from tfeff.errors import UserError
from tfeff.networks import Architecture, Detector
from tfeff.networks.backbones.preset import Preset
from tfeff.networks.catalog import ALL_BACKBONES, SECTIONS, own_statistics
from tfeff.networks.detectors.rcnn import RCNN
from tfeff.networks.preprocessing import per_channel

Method = Literal["depth", "width", "resolution", "width+resolution", "compound"]
"""Which dimensions a network is scaled in."""


@dataclass(frozen=True, kw_only=True)
class Member(Section):
    """A member of a family of networks, as the network of the experiment."""

    family: str | None = None
    """Workdir of a `tfeff.search`: use the member `phi` of the family found there. The family then determines the
    network: only `dropout`, `survival_probability` and `weights` of `model` can be set."""
    phi: NotNegative[float] | None = None
    """Scaling exponent φ of the member: depth α^φ, width β^φ, resolution γ^φ. None: 0, the baseline."""
    method: Method = "compound"
    """Instead of the member, the network that the search scaled to its multiply-adds in these dimensions alone; φ must
    be one of the search's `members`."""

    def _check(self) -> None:
        for key in ("phi", "method"):
            if getattr(self, key) != getattr(Member, key) and self.family is None:
                raise UserError(f"config: member.{key} requires member.family")
        if self.method != "compound" and self.phi is None:
            raise UserError(f"config: member.method={self.method} requires member.phi")


@dataclass(frozen=True, kw_only=True)
class Data(Section):
    """The dataset, its splits, and how images are loaded."""

    source: str = "embedded:digits"
    """The dataset. For classification: `folder:<directory>`, `csv:<file>`, `tfds:<name>`, `hf:<directory>`,
    `records:<directory>`, `embedded:<name>`, or `crops:<source>`: the objects of a dataset with boxes, jittered boxes
    around them, and background. For localization and detection: `voc:<directory>`, `yolo:<directory>`,
    `coco:<directory>`, `csv:<file>`, `tfds:<name>`, `hf:<directory>`, `records:<directory>` or `embedded:<name>`."""
    crop_context: NotNegative[float] = 0.0
    """For `crops:` sources: margin around each box, as a fraction of the box's side."""
    proposals: Proposals = field(default_factory=Proposals)
    """For `crops:` sources: with a `directory`, crops besides the objects are region proposals from this store: those
    with an IoU of at least 0.5 with an object have its class, others are background (arXiv:1311.2524, section 2.3).
    None: random boxes."""
    tile: Positive[int] | None = None
    """For detectors and large images: train and detect in tiles with this side, in pixels of the image, instead of
    whole images. Metrics are those of whole images, whose tiles are merged. None: images are not cut."""
    tile_overlap: NotNegative[int] | None = None
    """With `tile`: pixels that neighboring tiles share at least; best the size of the largest objects. None: a quarter
    of the side."""
    directory: str | None = None
    """For `tfds:` sources: directory of the prepared datasets. None: TensorFlow Datasets' default."""
    download: bool = False
    """For `tfds:` sources: download and prepare the dataset if it is missing."""
    channels: int = 3
    """3 (RGB) or 1 (gray)."""
    image_size: Positive[int] | Literal["original"] | None = None
    """Images are resized once to this side, in pixels, when they are loaded; batches are resized from there to the
    model's resolution. None: the images' own size if all have the same, else the model's resolution. With
    `task.center_crop`, it is the shorter side, and by default such that the central square of the image has the model's
    resolution; `original` keeps images as they are stored."""
    reduced_decoding: bool = False
    """Decode a JPEG at 1/2, 1/4 or 1/8 of its size if that is at least twice the size at which it is loaded
    (`image_size`), and its sides can be divided by that number, as those of cameras: photographs of several megapixels
    in a fraction of the time. Pixels differ slightly; exported models decode whole images."""
    train_split: str = "train"
    """Split to train on."""
    unlabeled: str | None = None
    """Further images to train on, with a teacher (`task.teacher`): a folder. All images below it take part, but those
    that the run is validated or tested on (recognized by name, size and modification time)."""
    unlabeled_per_label: Positive[float] = 1.0
    """Unlabeled images in each batch, divided by those with labels. An epoch is one pass over the labeled images."""
    validation_split: str | None = None
    """Split to validate on. None: the dataset's own `validation` split if it has one; otherwise `validation_fraction`
    of the training split is held out."""
    test_split: str | None = "test"
    """Split to evaluate the trained network on. None: evaluate on the validation images."""
    validation_fraction: Fraction = 0.1
    """Fraction of the training split to hold out for validation, stratified by class, if there is no validation split.
    0: hold out nothing."""
    validation_examples: Positive[int] | None = None
    """During training, validate on a random subset of this many validation images, stratified by class. None: all."""
    seed: int | None = None
    """Seed for drawing images: `train_examples`, the held-out part, `validation_examples`, folds, and splits of a
    source without splits of its own. None: the experiment's `seed`. Set it to train with other seeds on the same
    images."""
    groups: str | None = None
    """Regular expression. Images whose ids (paths, with `/`) it matches with equal groups, such as the frames of one
    video with `(video\\d+)_`, are never separated by folds, held-out parts and splits that are drawn. None: each image
    is on its own."""
    train_examples: Positive[int] | None = None
    """Use a random subset of this many images of the training split, stratified by class, of which
    `validation_fraction` is held out, too; of `crops:`, that of their images. None: all images."""
    folds: int | None = None
    """Number of folds for k-fold cross-validation on the training split; fold number `fold` is held out."""
    fold: NotNegative[int] = 0
    """Index of the fold, from 0."""
    fold_examples: Positive[int] | None = None
    """Use `folds` disjoint subsets of this many images instead, each with its own held-out `validation_fraction`; fold
    number `fold` is trained on; with `validation_split`, all of it. None: classic k-fold cross-validation, whose
    training parts overlap."""
    fold_train_examples: Positive[int] | None = None
    """With folds: train on a random subset of this many of the fold's training images, stratified by class. None: all
    of them."""
    cache: Literal["memory", "disk", "none"] = "memory"
    """Keep decoded images in memory or in a memory-mapped file (`disk`), or decode them every time (`none`). Processes
    that read the same images share a `disk` cache: one of them decodes, and the others wait. R-CNN, which cuts
    regions from whole images, keeps none."""
    cache_directory: str | None = None
    """Directory of the `disk` cache. For images that are not kept, the directory of the list of those that cannot be
    decoded; None: the workdir."""
    augment_on_device: bool = False
    """Copy training images that are cached in one size to the device as uint8, a quarter of the bytes, and augment and
    resize them there, for a GPU that waits for the CPU. For images with one label; pixels differ from those made by the
    CPU by up to 0.1 of 255 levels. AutoAugment and RandAugment round these and have thresholds: with them, fewer than
    one pixel in a thousand differs by more, mostly by 1 level, but by up to 16 where levels are posterized."""
    corrupt_images: Literal["error", "skip"] = "error"
    """What to do with images that cannot be decoded: stop with an error that lists them, or skip them."""
    on_defect: Literal["report", "stop"] = "report"
    """What to do with defects of annotations and lists: fix or leave out what is concerned and report it, or stop."""
    max_lost: Fraction = 0.1
    """The largest fraction of the images or objects of a split that may be lost to defects, corrupt images,
    `task.max_objects` or the size of the network's input; beyond it, training does not start."""
    augment: str | None = None
    """Name of a function that varies training images after the built-in augmentation, given in Python:
    `tfeff.train(..., augment=function)` sets it."""
    class_balanced: bool = False
    """Sample each class equally often. For images with one label or one object (localization)."""
    normalization: Literal["family", "dataset"] = "family"
    """Per-channel mean and standard deviation used inside the model: `model.mean` and `model.std`, by default those of
    the model family, or those of the training images, without the padding of letterboxes."""

    def options(self, seed: int, *, further_classes: bool) -> Options:
        """Returns how the source is read.

        Args:
            seed: seed of the experiment, for what is drawn from the images, unless `seed` is set here.
            further_classes: whether the task allows classes that are not trained on.
        """
        return Options(
            channels=self.channels,
            seed=seed if self.seed is None else self.seed,
            groups=self.groups,
            further_classes=further_classes,
            used_splits=tuple(filter(None, (self.train_split, self.validation_split, self.test_split))),
            data_dir=self.directory,
            download=self.download,
            on_defect=self.on_defect,
            crop_context=self.crop_context,
            grid=self.grid,
        )

    @property
    def grid(self) -> Grid | None:
        """How images are cut into tiles; None: they are not."""
        if self.tile is None:
            return None
        return Grid((self.tile, self.tile), self.tile // 4 if self.tile_overlap is None else self.tile_overlap)

    def _check(self) -> None:
        fewest = 2 if self.fold_examples is None else 1
        if self.folds is not None and self.folds < fewest:
            self.wrong("folds", f"{fewest} or more")
        if self.channels not in (1, 3):
            self.wrong("channels", "1 (gray) or 3 (RGB)")
        if self.tile is not None and self.unlabeled is not None:
            self.wrong("unlabeled", "none with data.tile: unlabeled images are not cut")
        if self.tile_overlap is not None and self.tile is None:
            raise UserError("config: data.tile_overlap requires data.tile")
        if self.tile is not None and (self.tile_overlap or 0) >= self.tile:
            self.wrong("tile_overlap", f"below data.tile = {self.tile}")
        if self.reduced_decoding and self.image_size == "original":
            self.wrong("reduced_decoding", "false: with data.image_size=original, images are not reduced")
        if self.folds is None and self.fold:
            self.wrong("fold", "0 without data.folds, the number of folds")
        if self.folds is not None and self.fold >= self.folds:
            self.wrong("fold", f"below data.folds = {self.folds}")
        if self.folds is not None and self.fold_examples is None and self.validation_split is not None:
            raise UserError("config: data.validation_split conflicts with data.folds: the fold is the validation set")
        for key in ("fold_examples", "fold_train_examples"):
            if getattr(self, key) is not None and self.folds is None:
                raise UserError(f"config: data.{key} requires data.folds")
        if self.fold_examples is not None and self.validation_split is None and not 0 < self.validation_fraction < 1:
            self.wrong("validation_fraction", "above 0 and below 1: the fraction of each fold to hold out")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            self.wrong("seed", "between 0 and 2^32 - 1")
        if self.groups is not None:
            try:
                parts = re.compile(self.groups).groups
            except re.error as error:
                self.wrong("groups", f"a regular expression ({error})")
            if not parts:
                self.wrong("groups", "a regular expression with a group in parentheses, such as (video\\d+)_")
        if self.cache == "disk" and self.cache_directory is None:
            self.wrong("cache_directory", 'a directory: data.cache="disk" requires it')


@dataclass(frozen=True, kw_only=True)
class Optimizer(Section):
    """The optimizer, its peak learning rate, and what differs by layer.

    `frozen` and `learning_rate_factors` select variables by shell-style patterns (`*`, `?`, `[12]`, `[!1]`) that match
    whole paths, such as `stem_conv/kernel`, `stage1_block2_conv1_bn/gamma` or `head_classifier/bias`. A pattern that
    matches nothing is an error that suggests another one.
    """

    name: Literal["sgd", "rmsprop", "adamw", "muon"] = "sgd"
    learning_rate: Positive[float] = 0.1
    """Peak learning rate; `schedule` varies it over time."""
    momentum: Fraction = 0.9
    """Momentum of SGD, RMSProp and Muon; β1 of AdamW."""
    nesterov: bool = True
    """Nesterov momentum (SGD and Muon)."""
    decay: Fraction = 0.9
    """Decay of RMSProp's moving average of squared gradients."""
    beta_2: Fraction = 0.999
    """β2 of AdamW, also for the variables that Muon leaves to AdamW."""
    epsilon: Positive[float] | None = None
    """None: 1e-3 for RMSProp (as in EfficientNet's training), 1e-7 for AdamW and Muon."""
    initial_accumulator: NotNegative[float] = 0.0
    """Initial value of RMSProp's moving average of squared gradients. TensorFlow 1, with which EfficientNets were
    trained, used 1; then the first updates are small instead of large."""
    weight_decay: NotNegative[float] = 0.0
    """Weight decay of kernels: variables whose names end in "kernel". Others do not decay, and biases only with
    `weight_decay_biases`."""
    weight_decay_biases: bool = False
    """Decay biases as well, as EfficientNet's training does."""
    weight_decay_kind: Literal["decoupled", "l2"] = "decoupled"
    """`decoupled` (arXiv:1711.05101): each step subtracts learning_rate × weight_decay × kernel. `l2`: adds
    weight_decay × kernel to the gradient, after clipping, as PyTorch's SGD, RMSprop and Adam do. For SGD with momentum
    m, an L2 penalty λ corresponds to decoupled weight_decay = λ / (1 - m)."""
    clip_norm: Positive[float] | None = None
    """Clip gradients to this global norm, without those of frozen variables."""
    frozen: tuple[str, ...] = ()
    """Patterns of the variables to freeze, such as `("stem*", "stage[12]*")`: they are not updated and do not decay,
    and no gradients are computed for them. Batch normalization with frozen variables uses its moving statistics and
    keeps them. Use it with `model.weights`."""
    freeze_normalization: bool = False
    """All batch normalization (of a detector: of its backbone) keeps its scale, offset and moving statistics. Use it
    with `model.weights`."""
    unfreeze: tuple[str, ...] = ()
    """Patterns of frozen variables that are trained from some epoch on, as `epoch=pattern`, such as
    `("2=stage4*", "4=*")` after `frozen=("stem*", "stage*")`: the first after two epochs, all after four (gradual
    unfreezing, arXiv:1801.06146). The optimizer's moving averages start again at these epochs."""
    learning_rate_factors: tuple[str, ...] = ()
    """Factors on the learning rate, and so on decoupled weight decay, as `pattern=factor`, such as
    `("*=0.1", "head*=1")`. If a variable matches several patterns, the last one applies; if it matches none, its factor
    is 1."""
    parametrization: Literal["standard", "mup"] = "standard"
    """`mup`: the maximal update parametrization (arXiv:2203.03466, for depth arXiv:2310.02244) scales initial values
    and learning rates of each variable so that `learning_rate` means the same for all widths and depths of a family. It
    is relative to the member whose coefficients are 1. For classifiers from random weights, with SGD, RMSProp or
    AdamW."""
    transfer: Literal["auto"] | None = None
    """Which layers to train from `model.weights` (classification only). `auto` chooses from the number of training
    images and from linear probes on features of these weights: it sets `frozen`, and, if they are not set,
    `learning_rate_factors` and `training.feature_variants`. Factors of frozen layers are dropped, and
    `feature_variants` if no layer is frozen. `learning_rate` is that of the classifier; other layers train at a tenth
    of it."""

    def factors(self) -> tuple[tuple[str, float], ...]:
        """Returns `learning_rate_factors` as (pattern, factor)."""
        parts = (item.rpartition("=") for item in self.learning_rate_factors)
        return tuple((pattern.strip(), float(factor)) for pattern, _, factor in parts)

    def unfreezing(self) -> tuple[tuple[int, str], ...]:
        """Returns `unfreeze` as (epoch, pattern)."""
        parts = (item.partition("=") for item in self.unfreeze)
        return tuple((int(epoch), pattern.strip()) for epoch, _, pattern in parts)

    def _check(self) -> None:
        try:
            valid = all(pattern and 0 < factor < math.inf for pattern, factor in self.factors())
        except ValueError:
            valid = False
        try:
            numbered = all(pattern and epoch >= 0 for epoch, pattern in self.unfreezing())
        except ValueError:
            numbered = False
        if not numbered:
            self.wrong("unfreeze", "items like 3=stage4*: a number of epochs, and a pattern")
        if not valid:
            self.wrong(
                "learning_rate_factors", "items like head*=10, with factors above 0; optimizer.frozen freezes variables"
            )


@dataclass(frozen=True, kw_only=True)
class Schedule(Section):
    """The learning rate over time. Durations are in epochs and may be fractional."""

    name: Literal["constant", "cosine", "exponential", "step", "plateau"] = "cosine"
    warmup_epochs: NotNegative[float] = 0.0
    """Increase the learning rate linearly over this many epochs."""
    count_warmup: bool = False
    """Count the epochs of `exponential` and `cosine` from the beginning of training, as EfficientNet's training does:
    warm-up replaces the first part of the schedule. False: the schedule starts after the warm-up."""
    decay_rate: Positive[float] = 0.97
    """Factor on the learning rate: every `decay_epochs` for `exponential`, at each boundary for `step`, on each plateau
    for `plateau`."""
    decay_epochs: Positive[float] = 2.4
    """Epochs between two decays of `exponential`."""
    boundaries: tuple[float, ...] = ()
    """Epochs at which `step` multiplies by `decay_rate`."""
    patience_epochs: Positive[int] = 5
    """Epochs without a better value of `training.monitor` before `plateau` multiplies by `decay_rate`. It is measured
    every `training.validation_epochs`."""

    def _check(self) -> None:
        if list(self.boundaries) != sorted(self.boundaries):
            self.wrong("boundaries", "epochs in increasing order")
        if self.name == "step" and not self.boundaries:
            self.wrong("boundaries", 'epochs with schedule.name="step", such as 30,60')


@dataclass(frozen=True, kw_only=True)
class Training(Section):
    """Duration, batches, precision and devices."""

    epochs: Positive[int] = 10
    """A finished run can be continued with a higher number in the same workdir. Learning rates that depend on the
    number of epochs then follow the new one from there on."""
    batch_size: Positive[int] = 128
    """Images per update, over all devices and workers."""
    accumulation_steps: Positive[int] = 1
    """Split each device's batch into this many equal parts and sum their gradients before the update. Validation and
    evaluation take as many images at once as such a part has."""
    resolution_factors: tuple[float, ...] = ()
    """Train each step at one of these multiples of `model.resolution`, which is drawn, such as 0.75,1,1.25: images of
    `model.resolution` are resized, with their boxes (Redmon and Farhadi, arXiv:1612.08242, section 2). Sides of
    detectors are rounded to multiples of their coarsest stride; both sides of the input at `model.resolution` must be
    such multiples, too. Validation, evaluation and export keep `model.resolution`. (): train at that one."""
    feature_variants: Positive[int] | None = None
    """Compute the features of the frozen part of the network once, for this many augmented variants of each image, and
    train the rest of the network on them (not detectors). Requires `optimizer.frozen` for the first
    layers, such as `stem*,stage*`. The frozen part runs in inference mode, without its dropout and stochastic depth.
    None: compute them at each step."""
    recompute_statistics: bool = False
    """Before the first step, replace the moving statistics of batch normalization, which initial weights bring from
    other images, by those of training images."""
    rematerialize: bool = False
    """Keep few feature maps for the backward pass and compute the others again (arXiv:1604.06174): less memory, for the
    time of a second forward pass. Not for networks that read regions (R-CNN, Fast and Faster R-CNN)."""
    quantization: Literal["int8"] | None = None
    """Fine-tune a trained network (`model.weights`) as it will run in 8-bit integers (arXiv:1712.05877): training and
    validation round weights and feature maps as `tfeff.export --precision=int8` does. Batch normalization keeps its
    statistics. The weights remain float32. None: off."""
    ema_decay: Fraction | None = None
    """Decay of the exponential moving average of all weights, which is used for evaluation and export. None: off."""
    ema_images: Positive[float] | None = None
    """Like `ema_decay`, with a decay of exp(-batch_size / ema_images): the average spans this many images whatever the
    batch size. None: off."""
    swa_epochs: Positive[int] | None = None
    """Average the weights after each of the last this many epochs and use the average for evaluation and export
    (stochastic weight averaging, arXiv:1803.05407). Its batch statistics are computed from the training images, which
    takes a forward pass per averaged epoch. A constant learning rate in these epochs is usual. Such a run cannot be
    continued with more epochs. None: off."""
    validation_epochs: Positive[int] = 1
    """Validate every this many epochs, and after the last one. Early stopping, the plateau schedule and `keep="best"`
    only see those epochs; their patience still counts all epochs."""
    early_stopping_epochs: Positive[int] | None = None
    """Stop after this many epochs without a better value of `monitor` and keep the weights of the best epoch. None:
    off."""
    keep: Literal["last", "best"] = "last"
    """Evaluate and export the weights of the last epoch, or of the epoch with the best value of `monitor`."""
    monitor: str = "loss"
    """What early stopping, `keep="best"` and the plateau schedule watch on the validation images: `loss`, or a metric
    of the task, such as `accuracy`. Values whose names end in `loss` are minimized, all others maximized."""
    minimum_change: NotNegative[float] = 0.0
    """A value of `monitor` is better if it improves the best one by more than this."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """`auto` times training steps and uses mixed precision only if it is faster on this machine. On GPUs, it is used
    untimed with `deterministic` or several workers."""
    deterministic: bool = False
    """Make runs on the same machine bit-identical. Slower."""
    strategy: Literal["auto", "single", "mirrored", "multi_worker"] = "auto"
    """Train on one device, on all GPUs (`mirrored`), or on the workers of TF_CONFIG (`multi_worker`). `auto`: the
    workers of TF_CONFIG if it is set, else all GPUs, else one device."""
    xla: bool = False
    """Compile the training step with XLA (single device only)."""
    checkpoint_seconds: Positive[float] = 300.0
    """Seconds between checkpoints within an epoch. There is also one at the end of each epoch, and one before its
    validation if the last one is older than a minute."""

    def _check(self) -> None:
        if any(not 0.1 <= factor <= 10 for factor in self.resolution_factors):
            self.wrong("resolution_factors", "between 0.1 and 10 each")
        averages = [key for key in ("ema_decay", "ema_images", "swa_epochs") if getattr(self, key) is not None]
        if len(averages) > 1:
            self.wrong(averages[1], f"omitted with training.{averages[0]}")
        if self.swa_epochs is not None and self.swa_epochs > self.epochs:
            self.wrong("swa_epochs", f"at most training.epochs = {self.epochs}")
        if self.swa_epochs is not None and (self.keep == "best" or self.early_stopping_epochs is not None):
            self.wrong("swa_epochs", "omitted with training.keep=best and training.early_stopping_epochs")
        if self.batch_size % self.accumulation_steps:
            self.wrong("accumulation_steps", f"a divisor of batch_size = {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class Experiment(Section):
    """The config of one training run: everything that determines its result."""

    IS_WHOLE = True

    seed: int = 0
    """Seed for initial weights, the order of images, augmentation and dropout."""
    task: TaskSettings = choice(TASKS, "classification")
    model: Architecture = choice(SECTIONS, "resnet")
    """The network; of a detector, its backbone. `python -m tfeff.summary --family=NAME` lists the names; also a preset
    of KerasHub or KerasCV, such as `keras_hub:resnet_50_imagenet`."""
    member: Member = field(default_factory=Member)
    data: Data = field(default_factory=Data)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    training: Training = field(default_factory=Training)

    @property
    def description(self) -> Architecture | Detector | RCNN:
        """The description of the network, without what it takes from the training images and its initial weights.

        Raises:
            UserError: its parts do not fit.
        """
        return self.task.describe(replace(self.model, weights=None))

    @property
    def sources(self) -> tuple[str, ...]:
        """What it learns from besides its images: its initial weights and its teachers, as in the config."""
        weights = self.model.weights
        return (*(() if weights is None else (weights,)), *self.task.teachers)

    @property
    def needs_validation(self) -> bool:
        """Whether the training depends on validation images."""
        return (
            self.training.early_stopping_epochs is not None
            or self.training.keep == "best"
            or self.schedule.name == "plateau"
            or self.task.tunes_on_validation
        )

    def _check(self) -> None:
        if not 0 <= self.seed < 2**32:
            self.wrong("seed", "between 0 and 2^32 - 1")
        held_out = self.data.validation_split or self.data.folds or self.data.validation_fraction > 0
        if self.needs_validation and not held_out:
            self.data.wrong(
                "validation_fraction",
                "above 0 (or set data.validation_split): early stopping, keep=best, the plateau schedule and "
                "temperature scaling need validation images",
            )
        if self.task.CUTS_REGIONS:
            self._check_whole_images()
        if self.data.image_size == "original" and not self.task.keeps_image_sizes:
            self.data.wrong("image_size", "a number of pixels; only task.center_crop keeps the sizes of images")
        if self.data.reduced_decoding and self.data.source.startswith("crops:"):
            self.data.wrong("reduced_decoding", "false: crops are cut from whole images")
        if self.data.reduced_decoding and self.data.tile is not None:
            self.data.wrong("reduced_decoding", "false: tiles are cut from whole images")
        if isinstance(self.task, RCNNSettings) and self.task.joint.positives >= self.training.batch_size:
            self.task.joint.wrong("positives", f"below training.batch_size = {self.training.batch_size}")
        if self.task.plain_epochs and self.data.augment is None and not self.task.varies_images:
            self.task.wrong("plain_epochs", "0, because there is no augmentation except crops and flips")
        self._check_epochs()
        for key in ("mean", "std"):
            try:
                per_channel(getattr(self.model, key), self.data.channels)
            except UserError as error:
                raise UserError(f"config: model.{key}: {error}") from None
        self._check_preprocessing()
        if self.optimizer.transfer is not None:
            self._check_transfer()
        if self.training.feature_variants is not None and not self.task.STORES_FEATURES:
            self.training.wrong("feature_variants", "none: only classification, embedding and localization support it")
        if self.training.feature_variants is not None and self.task.plain_epochs:
            self.task.wrong("plain_epochs", "0 with training.feature_variants")
        own = self.model.starts_trained or isinstance(self.model, Preset)
        if own and self.data.normalization == "dataset":
            self.data.wrong("normalization", '"family": trained networks and presets come with their own normalization')

    def _check_whole_images(self) -> None:
        """Refuses settings that have no effect on whole images; `memory`, the default of the cache, is accepted."""
        why = f"task.name={self.task.name} cuts regions from whole images"
        if self.data.image_size is not None:
            self.data.wrong("image_size", f"none: {why}")
        if self.data.reduced_decoding:
            self.data.wrong("reduced_decoding", f"false: {why}")
        if self.data.cache == "disk":
            self.data.wrong("cache", f'"none": {why} and does not keep them')

    def _check_preprocessing(self) -> None:
        """Refuses own statistics where those of the weights are used; runs are compared where training begins."""
        source = str(self.model.weights)
        if source in ("imagenet", "coco", *ALL_BACKBONES) or source.endswith((".keras", ".pth")):
            for key in own_statistics(self.model):
                raise UserError(f'config: model.{key}: omit it: the network takes that of the weights "{source}"')

    def _check_epochs(self) -> None:
        """Compares all lengths with that of the training; several that are too long are named at once."""
        epochs = self.training.epochs
        wrong: list[tuple[Section, str, str, str]] = []
        if self.schedule.warmup_epochs >= epochs:
            wrong.append((self.schedule, "schedule.warmup_epochs", f"below training.epochs = {epochs}", "0"))
        if any(epoch >= epochs for epoch, _ in self.optimizer.unfreezing()):
            wrong.append((self.optimizer, "optimizer.unfreeze", f"epochs below training.epochs = {epochs}", ""))
        if self.task.plain_epochs > epochs:
            wrong.append((self.task, "task.plain_epochs", f"at most training.epochs = {epochs}", "0"))
        if len(wrong) == 1:
            section, key, right, _ = wrong[0]
            section.wrong(key.partition(".")[2], right)
        if wrong:
            values = ", ".join(f"{key} = {getattr(each, key.partition('.')[2])!r}" for each, key, _, _ in wrong)
            flags = " ".join(f"--config.{key}={value}" for _, key, _, value in wrong)
            raise UserError(f"config: training.epochs = {epochs} is too short for {values}; add {flags}")

    def _check_transfer(self) -> None:
        if not self.model.starts_trained:
            raise UserError("config: optimizer.transfer requires model.weights")
        if not self.task.IS_CLASSIFIER:
            self.optimizer.wrong("transfer", "none: only classification supports it; set optimizer.frozen instead")
        if self.optimizer.unfreeze and not self.optimizer.frozen:
            raise UserError(
                "config: optimizer.unfreeze requires optimizer.frozen, which optimizer.transfer chooses; remove one"
            )
