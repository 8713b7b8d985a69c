"""The sections of an R-CNN config: dataset, proposals, backbone, the heads, and the decoding into detections."""

from dataclasses import dataclass, field
from typing import Literal

from tfeff.config.proposals import Proposals
from tfeff.config.schema import Experiment
from tfeff.config.section import Section, at_least, fraction, positive
from tfeff.config.tasks import Classification


@dataclass(frozen=True, kw_only=True)
class DetectionData(Section):
    """A dataset of images with bounding boxes, and its splits."""

    KEY = "data"

    source: str = "voc:data/voc"
    """`voc:<directory>`, `yolo:<directory>`, `coco:<directory>`, `tfds:<name>` or `embedded:<name>`."""
    train_split: str = "train"
    """Split to train on."""
    train_examples: int | None = None
    """Train on a random subset of this many images. None: all images."""
    validation_split: str | None = None
    """Split to validate on. None: `validation_fraction` of the training images is held out."""
    validation_fraction: float = 0.15
    """Fraction of the training images to hold out if `validation_split` is None."""
    test_split: str | None = "test"
    """Split of the dataset to evaluate the trained detector on; it may be the dataset's "validation". None: no
    evaluation."""
    on_defect: Literal["fix", "error"] = "fix"
    """What to do with invalid annotations: fix or drop them and report how many, or stop with an error."""
    corrupt_images: Literal["error", "skip"] = "error"
    """What to do with images that cannot be decoded: stop with an error, or skip and list them. To find them, every
    image is then decoded once when the run starts."""

    def check(self) -> None:
        """Validates field values."""
        positive(self, "train_examples")
        if not 0 < self.validation_fraction < 1:
            self.wrong("validation_fraction", "above 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class RegionFeatures(Section):
    """The features of a region: crop, backbone, average pooling."""

    KEY = "features"

    grid: int = 3
    """The backbone's last feature map is average-pooled to grid × grid cells."""
    context: int = 0
    """Margin around the region, in pixels of the backbone's input (16 of 227 in arXiv:1311.2524)."""

    def check(self) -> None:
        """Validates field values."""
        positive(self, "grid")
        at_least(self, 0, "context")


@dataclass(frozen=True, kw_only=True)
class Joint(Section):
    """The joint head: softmax over classes and background, and box regression, trained together. Devices, determinism
    and the interval of checkpoints are those of `backbone.training`."""

    positives: int = 100
    """Positive regions per batch."""
    negatives: int = 28
    """Background regions per batch."""
    positive_overlap: float = 0.5
    """A region is positive if its IoU with an object is above this."""
    negative_overlap: float = 0.5
    """A region is background if its IoU with every object is below this."""
    hidden: tuple[int, ...] = (256,)
    """Units of the hidden layers shared by both outputs."""
    dropout: float = 0.3
    """Dropout rate of the hidden layers."""
    learning_rate: float = 1e-2
    momentum: float = 0.9
    l1: float = 1e-5
    """L1 penalty on the kernels."""
    epochs: int = 60
    """Maximum number of epochs; one epoch samples as many positives as there are."""
    patience_epochs: int = 5
    """Stop after this many epochs without a lower validation loss; the best weights are kept."""

    def check(self) -> None:
        """Validates field values."""
        positive(self, "positives", "learning_rate", "epochs", "patience_epochs")
        at_least(self, 0, "negatives", "l1")
        fraction(self, "positive_overlap", "negative_overlap", "momentum", "dropout")
        if self.negative_overlap > self.positive_overlap:
            self.wrong("negative_overlap", f"positive_overlap = {self.positive_overlap} or less")


@dataclass(frozen=True, kw_only=True)
class Classic(Section):
    """The classic heads: for each class a linear SVM and ridge regression (arXiv:1311.2524, section 2.3, appendices B
    and C)."""

    negative_overlap: float = 0.3
    """A region is a negative of a class if its IoU with every object of the class is below this."""
    penalty: float = 1e-3
    """C of the SVMs."""
    positive_weight: float = 2.0
    """Weight of a positive relative to a negative."""
    mining_rounds: int = 6
    """Rounds of hard negative mining."""
    hardest: int = 4000
    """Maximum number of negatives added per round of mining."""
    box_overlap: float = 0.6
    """Box regression trains on regions whose IoU with their object is above this."""
    ridge: float = 1000.0
    """Regularization λ of the ridge regression."""

    def check(self) -> None:
        """Validates field values."""
        fraction(self, "negative_overlap", "box_overlap")
        positive(self, "penalty", "positive_weight", "mining_rounds", "hardest", "ridge")


@dataclass(frozen=True, kw_only=True)
class Windows(Section):
    """The sliding-window baseline: the backbone classifies windows of several sizes and aspect ratios."""

    max_windows: int = 2000
    """Maximum number of windows per image. If there are more, they are sampled evenly over scales and ratios."""
    scales: tuple[float, ...] = (1.0, 0.71, 0.5, 0.35, 0.25, 0.177, 0.125, 0.088, 0.0625)
    """Square roots of window area / image area."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height / width of the windows, relative to the image's own height / width."""
    overlap: float = 0.75
    """Overlap of neighboring windows, as a fraction of the window's side."""

    def check(self) -> None:
        """Validates field values."""
        positive(self, "max_windows")
        for key in ("scales", "ratios"):
            if not getattr(self, key) or min(getattr(self, key)) <= 0:
                self.wrong(key, "numbers above 0, at least one")
        if max(self.scales) > 1:
            self.wrong("scales", "1 or less")
        if not 0 <= self.overlap < 1:
            self.wrong("overlap", "0 or more and below 1")


@dataclass(frozen=True, kw_only=True)
class Detection(Section):
    """From scored regions to detections."""

    nms_overlap: float = 0.3
    """IoU threshold of non-maximum suppression, per class."""
    vote_overlap: float | None = None
    """Box voting (Gidaris and Komodakis 2015): a detection's box is the average, weighted by score, of all boxes of its
    class whose IoU with it is at least this. It helps if objects are far apart. None: no voting."""
    max_detections: int = 100
    """Maximum number of detections per image."""
    score: float | None = None
    """Detection threshold: detections below this score are not drawn, listed or counted in single-threshold tables.
    None: the threshold with the best F1 on the validation images."""
    missed: float = 0.005
    """Sets the region threshold: at most this fraction of the validation objects is classified as background."""

    def check(self) -> None:
        """Validates field values."""
        fraction(self, "nms_overlap", "vote_overlap", "score", "missed")
        positive(self, "max_detections")


@dataclass(frozen=True, kw_only=True)
class RCNN(Section):
    """The config of one R-CNN run: everything that determines its result."""

    seed: int = 0
    """Seed for initial weights, samples, subsets and splits."""
    forms: tuple[Literal["joint", "classic", "sliding_window"], ...] = ("joint", "classic")
    """The detectors to train and evaluate. `joint` and `classic` are heads on the same region features;
    `sliding_window` is a baseline that needs no training beyond the backbone."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Precision of features and hidden layers; boxes, losses and NMS are always float32. The backbone's training has
    its own, `backbone.training.precision`."""
    data: DetectionData = field(default_factory=DetectionData)
    proposals: Proposals = field(default_factory=Proposals)
    backbone: Experiment = field(default_factory=Experiment)
    """Training of the backbone as a classifier. With `backbone.data.source="crops"`, it trains on crops of the training
    images of `data.source`."""
    backbone_crops: Literal["random", "proposals"] = "proposals"
    """Crops besides the objects themselves: `random` boxes, or `proposals`, where those with IoU below 0.5 with every
    object are background (arXiv:1311.2524, section 2.3)."""
    backbone_workdir: str | None = None
    """Workdir of a finished `tfeff.train` run: use its network instead of training a backbone."""
    features: RegionFeatures = field(default_factory=RegionFeatures)
    joint: Joint = field(default_factory=Joint)
    classic: Classic = field(default_factory=Classic)
    windows: Windows = field(default_factory=Windows)
    detection: Detection = field(default_factory=Detection)

    def check(self) -> None:
        """Validates field values."""
        if not self.forms or len(set(self.forms)) != len(self.forms):
            self.wrong("forms", 'a list of "joint", "classic" and "sliding_window" without duplicates')
        if not 0 <= self.seed < 2**32:
            self.wrong("seed", "between 0 and 2^32 - 1")
        if not isinstance(self.backbone.task, Classification):
            self.backbone.task.wrong("name", '"classification": backbones are trained as classifiers')
