"""The sections of R-CNN: where regions come from, what sees them, what is learned of them."""

from dataclasses import dataclass, field
from typing import Literal

from tfeff.config.schema import Experiment
from tfeff.config.section import Section, at_least, fraction, positive


@dataclass(frozen=True, kw_only=True)
class DetectionData(Section):
    """Images with boxes around their objects."""

    source: str = "voc:data/voc"
    """`voc:<directory>`, `yolo:<directory>`, `coco:<directory>`, `tfds:<name>` or `embedded:<name>`."""
    train_split: str = "train"
    train_examples: int | None = None
    """A subset of the training split's images, drawn by the seed."""
    validation_split: str | None = None
    """A split of the source; None: a share of the training images is held out (`validation_fraction`)."""
    validation_fraction: float = 0.15
    test_split: str | None = "test"
    """A split of the source, also if it is called "validation"; None: nothing is measured at the end."""
    on_defect: Literal["fix", "error"] = "fix"
    """Invalid annotations: fix or skip and count them, or stop with an error."""
    corrupt_images: Literal["error", "skip"] = "error"
    """Images that cannot be decoded: stop with an error, or skip and list them (every image is then decoded once at the
    start to find them)."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "train_examples")
        if not 0 < self.validation_fraction < 1:
            self.wrong("validation_fraction", "above 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Proposals(Section):
    """The regions of an image."""

    mode: Literal["single", "fast", "quality"] = "fast"
    """Of selective search."""
    max_proposals: int = 1000
    """An image, at most."""
    directory: str | None = None
    """A store of `tfeff.propose` that goes on being filled; None: one inside the workdir."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "max_proposals")


@dataclass(frozen=True, kw_only=True)
class Features(Section):
    """What the backbone sees in a region."""

    grid: int = 3
    """Cells each way to which its last feature map is averaged."""
    context: int = 0
    """Pixels of its input, on each side, that show what surrounds the region (16 of 227 in arXiv:1311.2524)."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "grid")
        at_least(self, 0, "context")


@dataclass(frozen=True, kw_only=True)
class Joint(Section):
    """A softmax over classes and background and one box regressor, trained together."""

    positives: int = 100
    """Regions of a batch that overlap an object by more than `positive_overlap`."""
    negatives: int = 28
    positive_overlap: float = 0.5
    """Intersection over union above which a region is its object's class."""
    negative_overlap: float = 0.5
    """Below this a region is background."""
    hidden: tuple[int, ...] = (256,)
    """Units of layers that both heads share."""
    dropout: float = 0.3
    learning_rate: float = 1e-2
    momentum: float = 0.9
    l1: float = 1e-5
    """Penalty of the kernels' absolute values."""
    epochs: int = 60
    """At most; an epoch has as many batches as it takes to see as many positives as there are."""
    patience_epochs: int = 5
    """Epochs without a lower validation loss before the training ends; the best weights are kept."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "positives", "learning_rate", "epochs", "patience_epochs")
        at_least(self, 0, "negatives", "l1")
        fraction(self, "positive_overlap", "negative_overlap", "momentum", "dropout")
        if self.negative_overlap > self.positive_overlap:
            self.wrong("negative_overlap", f"positive_overlap = {self.positive_overlap} or less")


@dataclass(frozen=True, kw_only=True)
class Classic(Section):
    """A linear support vector machine and a ridge regressor a class (arXiv:1311.2524, section 2.3, appendices B, C)."""

    negative_overlap: float = 0.3
    """A region that overlaps every object of a class by less is a negative of it."""
    penalty: float = 1e-3
    """C of the machines."""
    positive_weight: float = 2.0
    """How many times a positive counts."""
    mining_rounds: int = 6
    hardest: int = 4000
    """Most negatives that a round of mining adds."""
    box_overlap: float = 0.6
    """Regions that overlap their object by more teach the regressors."""
    ridge: float = 1000.0
    """lambda of the regressors."""

    def check(self) -> None:
        """Values that no type excludes."""
        fraction(self, "negative_overlap", "box_overlap")
        positive(self, "penalty", "positive_weight", "mining_rounds", "hardest", "ridge")


@dataclass(frozen=True, kw_only=True)
class Windows(Section):
    """The sliding window: every place of an image at several sizes and ratios, and the backbone's own classifier."""

    most: int = 2000
    """Windows of an image; of more places than that, so many drawn by the seed, evenly over scales and ratios."""
    scales: tuple[float, ...] = (1.0, 0.71, 0.5, 0.35, 0.25, 0.177, 0.125, 0.088, 0.0625)
    """Square roots of the windows' areas over that of the image."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Heights over widths, the image's own ratio apart."""
    overlap: float = 0.75
    """Of neighbouring windows along one side, a share of that side: a stride is what is left of it."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "most")
        for key in ("scales", "ratios"):
            if not getattr(self, key) or min(getattr(self, key)) <= 0:
                self.wrong(key, "numbers above 0, at least one")
        if max(self.scales) > 1:
            self.wrong("scales", "1 or less")
        if not 0 <= self.overlap < 1:
            self.wrong("overlap", "0 or more and below 1")


@dataclass(frozen=True, kw_only=True)
class Detection(Section):
    """From scores to detections."""

    nms_overlap: float = 0.3
    """Of two boxes of a class that overlap by more, the one with the higher score stays."""
    max_detections: int = 100
    """An image."""
    score: float | None = None
    """From which on a detection is believed: drawn, listed, and counted in tables at one operating point. None: that of
    the best F1 on the validation images."""
    missed: float = 0.005
    """Share of the validation images' objects that may be called background where regions are classified."""

    def check(self) -> None:
        """Values that no type excludes."""
        fraction(self, "nms_overlap", "score", "missed")
        positive(self, "max_detections")


@dataclass(frozen=True, kw_only=True)
class RCNN(Section):
    """Everything that decides the outcome of a run of R-CNN."""

    seed: int = 0
    forms: tuple[Literal["joint", "classic", "sliding_window"], ...] = ("joint", "classic")
    """`joint` and `classic` are heads trained on the same features of proposals; `sliding_window` is what they have to
    beat."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """What features and hidden layers are computed in; boxes, losses and suppression are float32 under each. The
    backbone's training has a precision of its own."""
    data: DetectionData = field(default_factory=DetectionData)
    proposals: Proposals = field(default_factory=Proposals)
    backbone: Experiment = field(default_factory=Experiment)
    """How the backbone is trained as a classifier, on what `backbone.data` says; `crops` there means the crops of
    `data.source`'s training split."""
    backbone_crops: Literal["random", "proposals"] = "proposals"
    """What such crops are besides the objects themselves: boxes drawn at random, or proposals, of which those are
    background that overlap no object by half (arXiv:1311.2524, section 2.3)."""
    backbone_workdir: str | None = None
    """A finished run of `tfeff.train` whose network is taken instead of training one."""
    features: Features = field(default_factory=Features)
    joint: Joint = field(default_factory=Joint)
    classic: Classic = field(default_factory=Classic)
    windows: Windows = field(default_factory=Windows)
    detection: Detection = field(default_factory=Detection)

    def check(self) -> None:
        """Values that no type excludes."""
        if not self.forms or len(set(self.forms)) != len(self.forms):
            self.wrong("forms", '"joint", "classic", "sliding_window" or some of them, each once')
        if not 0 <= self.seed < 2**32:
            self.wrong("seed", "between 0 and 2^32 - 1")
        if self.backbone.task.name != "classification":
            self.backbone.task.wrong("name", '"classification": the backbone of a detector learns to classify')
