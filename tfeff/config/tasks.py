"""The sections of tasks. `Experiment.task` is one of them, selected by its key `name`.

A task is added here, with its section in `TASKS`; the section names the class that implements it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

from tfeff.config.section import VARIANTS, Fraction, NotNegative, Positive, Section, choice, keys
from tfeff.config.task_parts import (
    TTA,
    Classic,
    Joint,
    RegionFeatures,
    RegionProposals,
    SharedProposals,
    Suppression,
    Teacher,
    Windows,
)
from tfeff.data.augment.policy import Augmentation, BoxAugmentation
from tfeff.errors import UserError, nearest
from tfeff.networks import Architecture, Detector
from tfeff.networks.catalog import ALL_DETECTORS
from tfeff.networks.detectors import efficientdet, rcnn, retinanet, yolo

NO_PEAKS = "'hard' or 'gaussian': peaks are those of yolo"


@dataclass(frozen=True, kw_only=True)
class TaskSettings(Section):
    """What the network predicts, how it is trained for that, and the augmentation that suits it.

    This is the base of the sections in `TASKS`; each of them sets `IMPLEMENTATION` and the only value of `name`.
    """

    KEY = "task"
    # Not annotated, so they are not fields:
    IMPLEMENTATION = cast("str | type", "")
    """The `tfeff.tasks.ImageTask`, or `module:class`. It is created with the section."""
    IS_CLASSIFIER = False
    """Whether it predicts one class per image."""
    IS_DETECTOR = False
    """Whether it predicts any number of boxes with classes per image."""
    IS_SCALABLE = False
    """Whether the whole network is scaled by `tfeff.search`."""
    STORES_FEATURES = False
    """Whether it can train on stored features (`training.feature_variants`)."""
    READING = frozenset[str]()
    """Keys besides `name` that change how images are read."""
    OPEN_SET = False
    """Whether validation and test images may be of classes that were not trained on."""
    CUTS_REGIONS = False
    """Whether the network sees regions that are cut from images at their original resolution. Images are then neither
    resized nor kept decoded, and `training.batch_size` counts regions."""
    TILES = False
    """Whether images may be cut into tiles (`data.tile`)."""

    name: str
    plain_epochs: NotNegative[int] = 0
    """Use only plain augmentation in this many last epochs, so that training ends on images like those at test time (Ge
    et al., "YOLOX", arXiv:2107.08430, section 2.1): random crops and flips, with boxes only flips."""

    @property
    def keeps_image_sizes(self) -> bool:
        """Whether images can be loaded at their own sizes."""
        return False

    @property
    def tunes_on_validation(self) -> bool:
        """Whether a part of the network is found on the validation images."""
        return False

    @property
    def published_resolution(self) -> int | None:
        """The longer side of the published detector's input; None if the network is a backbone."""
        return None

    def describe(self, model: Architecture) -> Architecture | Detector | rcnn.RCNN:
        """Returns the description of the network with a backbone.

        Raises:
            UserError: they do not fit.
        """
        return model

    def with_network(self, description: Architecture | Detector | rcnn.RCNN) -> Self:
        """Returns the section for which `describe` returns `description`, given its backbone."""
        return self

    def for_reading(self) -> Self:
        """Returns the same task with defaults for all keys that do not change how images are read."""
        return type(self)(**{key: getattr(self, key) for key in ("name", *self.READING)})

    @property
    def aspect(self) -> float:
        """Width of the network's input, divided by its height."""
        return 1.0

    @property
    def images_drawn_together(self) -> int | None:
        """How many images of a class are drawn together into a batch; None: images are drawn one by one."""
        return None

    @property
    def teachers(self) -> tuple[str, ...]:
        """The runs and networks that are imitated."""
        teacher: Teacher | None = getattr(self, "teacher", None)
        return () if teacher is None else teacher.runs

    @property
    def imitates_features(self) -> bool:
        """Whether features of teachers are imitated, not only their outputs."""
        teacher: Teacher | None = getattr(self, "teacher", None)
        return teacher is not None and bool(teacher.runs) and teacher.features > 0

    @property
    def teacher_variants(self) -> int | None:
        """The number of variants of each image for which teachers' outputs are stored; None: they are not stored."""
        teacher: Teacher | None = getattr(self, "teacher", None)
        return None if teacher is None else teacher.variants

    @property
    def varies_images(self) -> bool:
        """Whether the augmentation does more than crops and flips, so that `plain_epochs` make a difference."""
        augmentation: Augmentation | BoxAugmentation | None = getattr(self, "augmentation", None)
        return augmentation is not None and augmentation != augmentation.plain

    @property
    def fitted(self) -> bool:
        """Whether the network is fitted before the first epoch, not trained by gradients."""
        return False

    def located(self, workdir: Path) -> "TaskSettings":
        """Returns the settings with unset directories placed inside the workdir."""
        return self


@dataclass(frozen=True, kw_only=True)
class LabeledImageSettings(TaskSettings):
    """Images with a class each. The base of the sections of classification and embedding."""

    READING = frozenset({"crop", "center_crop", "interpolation"})

    crop: bool = False
    """Keep the aspect ratio of images and crop the center, instead of stretching them to a square."""
    center_crop: Fraction | None = None
    """Load whole images with their aspect ratio and evaluate the central square, whose side is this fraction of the
    shorter side: 0.875 is usual for 224 pixels. Training draws `augmentation.crop_area` from the whole image; if that
    is 0, it uses the central square, too. None: images are stretched, or cropped by `crop`."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How images are resized, always with antialiasing."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random variation of training images."""

    @property
    def keeps_image_sizes(self) -> bool:
        """Whether images keep their sizes, as they do with `center_crop`."""
        return self.center_crop is not None

    def _check(self) -> None:
        super()._check()
        if self.center_crop == 0:
            self.wrong("center_crop", "above 0")
        if self.center_crop is not None and self.crop:
            self.wrong("crop", "false with task.center_crop, which loads whole images")
        if self.center_crop is not None and self.augmentation.crop_padding:
            self.wrong("augmentation", "without crop_padding with task.center_crop; set crop_area")


@dataclass(frozen=True, kw_only=True)
class ClassificationSettings(LabeledImageSettings):
    """The class of an image."""

    IMPLEMENTATION = "tfeff.tasks.classification:ClassificationTask"
    IS_CLASSIFIER = IS_SCALABLE = STORES_FEATURES = True

    name: Literal["classification"] = "classification"
    label_smoothing: Fraction = 0.0
    """Fraction of each label spread evenly over all classes (arXiv:1512.00567)."""
    tta: TTA = field(default_factory=TTA)
    teacher: Teacher = field(default_factory=Teacher)
    temperature_scaling: bool = False
    """Divide the trained network's logits by a temperature that minimizes the cross-entropy on the validation images,
    so that its confidences are calibrated (arXiv:1706.04599, section 4.2). Predicted classes do not change."""

    @property
    def tunes_on_validation(self) -> bool:
        """Whether validation images tune the network, as `temperature_scaling` does."""
        return self.temperature_scaling

    def _check(self) -> None:
        super()._check()
        if self.temperature_scaling and (self.tta.mirrored or self.tta.shift):
            self.wrong("temperature_scaling", "false with task.tta, which averages probabilities")


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings(LabeledImageSettings):
    """A vector of an image, near those of images of the same class, also of classes that were not trained on."""

    IMPLEMENTATION = "tfeff.tasks.embedding:EmbeddingTask"
    OPEN_SET = STORES_FEATURES = True

    name: Literal["embedding"] = "embedding"
    dimension: Positive[int] = 128
    """Numbers in the vector, which has a length (L2 norm) of 1."""
    loss: Literal["normalized_softmax", "supervised_contrastive"] = "normalized_softmax"
    """`normalized_softmax`: cross-entropy of the cosine similarities to a learned vector per class, its proxy (Zhai and
    Wu, arXiv:1811.12649). `supervised_contrastive`: each image of a batch attracts those of its class and repels all
    others (Khosla et al., arXiv:2004.11362, equation 2); no parameters besides the network's, and all images of a
    device's part of the batch are compared."""
    temperature: Positive[float] = 0.1
    """Cosine similarities are divided by it. The papers have 0.05 for `normalized_softmax`, on up to thousands of
    classes, and 0.1 for `supervised_contrastive`. With few classes, a low temperature separates them by small
    differences."""
    images_per_class: Positive[int] | None = None
    """Images of a class that are drawn together into a batch; classes are then drawn equally often, and images of small
    classes repeatedly, with other augmentation. None: 4 with `supervised_contrastive`; else images are drawn one by
    one, as `data.class_balanced` says."""

    @property
    def images_drawn_together(self) -> int | None:
        """See `images_per_class`."""
        return self.images_per_class or (4 if self.loss == "supervised_contrastive" else None)

    def _check(self) -> None:
        super()._check()
        if self.augmentation.mixes:
            self.wrong("augmentation", "without mixup and cutmix: a mixed image does not belong to one class")
        if self.loss == "supervised_contrastive" and self.images_per_class == 1:
            self.wrong("images_per_class", "2 or more with task.loss=supervised_contrastive, which compares them")


@dataclass(frozen=True, kw_only=True)
class LocalizationSettings(TaskSettings):
    """Class and box of the single object in an image."""

    IMPLEMENTATION = "tfeff.tasks.localization:LocalizationTask"
    STORES_FEATURES = True

    name: Literal["localization"] = "localization"
    class_weight: NotNegative[float] = 1.0
    """α in the loss α × cross-entropy + β × squared error of the box."""
    box_weight: NotNegative[float] = 10.0
    """β. The squared error is summed over the box's four coordinates, relative to the image size."""
    grid: Positive[int] = 4
    """The last feature map is average-pooled to at most grid × grid cells before the box head."""
    hidden: tuple[int, ...] = (128,)
    """Units of the box head's hidden layers."""
    label_smoothing: Fraction = 0.0
    """Fraction of each label spread evenly over all classes (arXiv:1512.00567)."""
    augmentation: BoxAugmentation = field(default_factory=BoxAugmentation)
    """Random variation of training images and their boxes."""

    def _check(self) -> None:
        super()._check()
        if self.class_weight == 0 and self.box_weight == 0:
            self.wrong("box_weight", "above 0, or class_weight: the loss would always be 0")
        for units in self.hidden:
            if units < 1:
                self.wrong("hidden", "numbers above 0")
        if self.augmentation.mixes:
            self.wrong("augmentation", "without mosaic, mixup and copy_paste, which show objects of several images")


def _require_own_backbone(network: Detector | rcnn.RCNN, published: Detector | rcnn.RCNN) -> None:
    """Raises UserError if the section of a detector describes the backbone, too."""
    if network.backbone != published.backbone:
        raise UserError("config: task.network: omit its backbone and resolution; the section model describes them")


@dataclass(frozen=True, kw_only=True)
class ObjectDetectionSettings(TaskSettings):
    """Objects in an image. The base of the detectors' sections."""

    IS_DETECTOR = IS_SCALABLE = TILES = True
    HAS_PEAKS = False
    """Whether `suppression.kind=peaks` is possible: a cell predicts one box."""
    READING = frozenset({"stretch"})

    network: Detector
    """The detector, without its backbone, which is the section `model`. Images are padded to its aspect ratio, so that
    of most images saves time: 4/3 saves a quarter on images of 640x480 pixels."""
    suppression: Suppression = field(default_factory=Suppression)
    max_objects: Positive[int] = 100
    """Objects of a training image that are used, the largest ones."""
    stretch: bool = False
    """Stretch images to the network's input instead of padding them."""
    augmentation: BoxAugmentation = field(default_factory=BoxAugmentation)
    """Random variation of training images and their boxes."""
    teacher: Teacher = field(default_factory=Teacher)

    @property
    def published(self) -> Any:
        """The published detector from which `network` was derived."""
        return self._variant(self.network.name)

    def _variant(self, name: str) -> Any:
        variants = keys(type(self))["network"].metadata[VARIANTS]
        if name not in variants:
            raise UserError(f"config: task.network.name is {name!r}; {nearest(name, variants)}")
        return variants[name]

    @property
    def published_resolution(self) -> int:
        """See `TaskSettings`."""
        return self.published.resolution

    def describe(self, model: Architecture) -> Detector:
        """See `TaskSettings`."""
        return replace(self.network, backbone=model)

    def with_network(self, description: Architecture | Detector | rcnn.RCNN) -> Self:
        """See `TaskSettings`."""
        assert isinstance(description, Detector)
        return replace(self, network=replace(description, backbone=self._variant(description.name).backbone))

    def for_reading(self) -> Self:
        """See `TaskSettings`."""
        return replace(super().for_reading(), network=replace(self.published, aspect=self.network.aspect))

    @property
    def aspect(self) -> float:
        """See `TaskSettings`."""
        return self.network.aspect

    def _check(self) -> None:
        super()._check()
        _require_own_backbone(self.network, self.published)
        if self.suppression.kind == "peaks" and not self.HAS_PEAKS:
            self.suppression.wrong("kind", NO_PEAKS)
        if self.teacher.features:
            self.teacher.wrong("features", "0: detectors imitate boxes and scores")
        if self.teacher.temperature != Teacher().temperature:
            self.teacher.wrong("temperature", f"{Teacher().temperature:g}: detectors imitate scores as they are")


@dataclass(frozen=True, kw_only=True)
class FocalSettings(ObjectDetectionSettings):
    """Anchors, focal loss for classes and Huber loss for boxes. The base of EfficientDet's and RetinaNet's sections."""

    network: efficientdet.EfficientDet
    positive_overlap: Fraction = 0.5
    """Anchors with at least this IoU with an object, and the best anchor of each object, are positive."""
    negative_overlap: Fraction = 0.5
    """Anchors with a lower IoU with every object are negative; those in between are ignored."""
    focal_alpha: Fraction = 0.25
    """Weight of positive examples in the focal loss; 1 - α is that of negative ones (arXiv:1708.02002)."""
    focal_gamma: NotNegative[float] = 1.5
    """The focal loss multiplies the cross-entropy by (1 - p)^γ, where p is the probability of the right answer."""
    huber_delta: Positive[float] = 0.1
    """The loss of a box code is quadratic up to this error and linear beyond it."""
    box_weight: NotNegative[float] = 50.0
    """Factor of the box loss."""

    def _check(self) -> None:
        super()._check()
        if self.negative_overlap > self.positive_overlap:
            self.wrong("negative_overlap", f"at most task.positive_overlap = {self.positive_overlap}")


@dataclass(frozen=True, kw_only=True)
class EfficientDetSettings(FocalSettings):
    """EfficientDet (arXiv:1911.09070).

    The defaults of matching and losses are those of the reference implementation. Its suppression is
    `kind=gaussian candidates=5000`, which takes longer.
    """

    IMPLEMENTATION = "tfeff.tasks.efficientdet:EfficientDetTask"

    name: Literal["efficientdet"] = "efficientdet"
    network: efficientdet.EfficientDet = choice(efficientdet.D_TABLE | efficientdet.LITE_D_TABLE, "efficientdet-d0")


@dataclass(frozen=True, kw_only=True)
class RetinaNetSettings(FocalSettings):
    """RetinaNet (arXiv:1708.02002).

    The loss of a box is the sum of the smooth L1 losses of its code (β 0.1, Detectron2's default), four times the mean
    Huber loss, divided by δ. Instead of the best anchor of an object alone, all that overlap it as much are positive.
    """

    IMPLEMENTATION = "tfeff.tasks.efficientdet:RetinaNetTask"

    name: Literal["retinanet"] = "retinanet"
    network: retinanet.RetinaNet = choice(retinanet.TABLE, "retinanet")
    negative_overlap: Fraction = 0.4
    focal_gamma: NotNegative[float] = 2.0
    box_weight: NotNegative[float] = 40.0


@dataclass(frozen=True, kw_only=True)
class YoloSettings(ObjectDetectionSettings):
    """YOLO without anchors: task-aligned assignment (TOOD, arXiv:2108.07755) and distances to the sides of a box as
    distributions (arXiv:2006.04388)."""

    IMPLEMENTATION = "tfeff.tasks.yolo:YoloTask"
    HAS_PEAKS = True

    name: Literal["yolo"] = "yolo"
    network: yolo.Yolo = choice(yolo.TABLE, "yolo")
    alpha: NotNegative[float] = 1.0
    """Exponent of the class score in the alignment metric."""
    beta: NotNegative[float] = 6.0
    """Exponent of the overlap."""
    positives: Positive[int] = 13
    """Cells per object, those with the largest metric. With `task.network.end_to_end`, those of the heads that only
    training uses; of the others, one cell learns each object."""
    alignment_overlap: Literal["iou", "ciou"] = "iou"
    """Overlap in the alignment metric; a negative CIoU counts as 0. If all cells have a negative one with an object, it
    is IoU."""
    class_weight: NotNegative[float] = 0.5
    """Factor of the binary cross-entropy."""
    box_weight: NotNegative[float] = 7.5
    """Factor of the loss 1 - CIoU."""
    distance_weight: NotNegative[float] = 1.5
    """Factor of the distribution focal loss."""

    @property
    def detects_peaks(self) -> bool:
        """Whether detections are peaks of the scores, instead of what non-maximum suppression leaves."""
        return self.network.end_to_end or self.suppression.kind == "peaks"

    def _check(self) -> None:
        super()._check()
        if self.network.end_to_end:
            reason = "with task.network.end_to_end, peaks are detected"
            if self.suppression.kind == "gaussian":
                self.suppression.wrong("kind", f"'hard' or 'peaks': {reason}")
            self.suppression.check_unused(reason)


@dataclass(frozen=True, kw_only=True)
class AnchorYoloSettings(ObjectDetectionSettings):
    """YOLO with anchors (arXiv:1804.02767): each object is learned by the anchor whose shape fits best."""

    IMPLEMENTATION = "tfeff.tasks.anchor_yolo:AnchorYoloTask"

    name: Literal["anchor_yolo"] = "anchor_yolo"
    network: yolo.AnchorYolo = choice(yolo.ANCHOR_TABLE, "anchor-yolo")
    anchors_per_level: Positive[int] | None = yolo.ANCHORS_PER_LEVEL
    """Anchors of each level, which k-means on the boxes of the training images finds. None: those of
    `task.network.anchors`."""
    ignore_overlap: Fraction = 0.7
    """Predictions that are not positive, but overlap an object by more than this IoU, learn no objectness."""
    object_weight: NotNegative[float] = 1.0
    """Factor of the objectness loss."""
    class_weight: NotNegative[float] = 1.0
    """Factor of the class loss."""
    box_weight: NotNegative[float] = 1.0
    """Factor of the box loss."""

    def describe(self, model: Architecture) -> yolo.AnchorYolo:
        """See `TaskSettings`. Until anchors are found, others take their place."""
        described = replace(self.network, backbone=model)
        if self.anchors_per_level is None:
            return described
        return replace(described, anchors=yolo.placeholder_anchors(self.anchors_per_level * len(described.levels)))

    def with_network(self, description: Architecture | Detector | rcnn.RCNN) -> Self:
        """See `TaskSettings`."""
        assert isinstance(description, yolo.AnchorYolo)
        if self.anchors_per_level is not None:
            description = replace(description, anchors=())
        return super().with_network(description)

    def _check(self) -> None:
        super()._check()
        if self.anchors_per_level is not None and self.network.anchors:
            self.wrong("anchors_per_level", "none with task.network.anchors, or omit those: k-means would replace them")
        if self.anchors_per_level is None and not self.network.anchors:
            self.wrong("anchors_per_level", "a number, or give task.network.anchors")


@dataclass(frozen=True, kw_only=True)
class GridSettings(ObjectDetectionSettings):
    """A grid of cells (YOLO, arXiv:1506.02640). The cells are those of the finest level in `task.network.levels`."""

    IMPLEMENTATION = "tfeff.tasks.grid:GridTask"

    name: Literal["grid"] = "grid"
    network: yolo.Grid = choice(yolo.GRID_TABLE, "grid")
    box_weight: NotNegative[float] = 5.0
    """Factor of the box loss."""
    no_object_weight: NotNegative[float] = 0.5
    """Factor of the confidence loss of boxes that are not responsible for an object."""


@dataclass(frozen=True, kw_only=True)
class TwoStageSettings(ObjectDetectionSettings):
    """Detectors whose second stage classifies and refines regions. The defaults are those of torchvision."""

    region_overlap: Fraction = 0.5
    """Regions with at least this IoU with an object are positive, the others are background."""
    background_overlap: Fraction = 0.0
    """Only regions with at least this IoU with an object are sampled as background; 0: all."""
    sampled_regions: Positive[int] = 512
    """Regions per image that the second stage learns from; the objects themselves are among the candidates."""
    positive_regions: Fraction = 0.25
    """At most this share of them is positive."""
    smooth_l1_beta: NotNegative[float] = 1 / 9
    """Errors of codes count quadratically up to this value; 0 for the absolute error, as in Detectron2."""
    suppression: Suppression = field(default_factory=lambda: Suppression(minimum_score=0.05))

    def _check(self) -> None:
        super()._check()
        if self.background_overlap > self.region_overlap:
            self.wrong("background_overlap", f"at most task.region_overlap = {self.region_overlap}")
        if self.teacher.runs:
            self.teacher.wrong("runs", "omitted: detectors with two stages cannot imitate teachers")


@dataclass(frozen=True, kw_only=True)
class FasterRCNNSettings(TwoStageSettings):
    """Faster R-CNN (arXiv:1506.01497), with a feature pyramid (arXiv:1612.03144) or on a single level
    (`task.network.levels=P4`)."""

    IMPLEMENTATION = "tfeff.tasks.faster_rcnn:FasterRCNNTask"

    name: Literal["faster_rcnn"] = "faster_rcnn"
    network: rcnn.FasterRCNN = choice(rcnn.FASTER_TABLE, "faster-rcnn")
    positive_overlap: Fraction = 0.7
    """Anchors with at least this IoU with an object, and the best anchors of each object, are positive."""
    negative_overlap: Fraction = 0.3
    """Anchors with a lower IoU with every object are negative; those in between are ignored."""
    sampled_anchors: Positive[int] = 256
    """Anchors per image that the first stage learns from."""
    positive_anchors: Fraction = 0.5
    """At most this share of them is positive."""
    proposal_overlap: Fraction = 0.7
    """A proposal is dropped if its IoU with a better one of its level exceeds this."""
    proposals_per_level: Positive[int] = 1000
    """Proposals of a level before suppression."""
    training_proposals_per_level: Positive[int] = 2000
    """As `proposals_per_level`, in training."""
    training_proposals: Positive[int] = 2000
    """Proposals per image from which the regions for training are sampled."""

    def _check(self) -> None:
        super()._check()
        if self.negative_overlap > self.positive_overlap:
            self.wrong("negative_overlap", f"at most task.positive_overlap = {self.positive_overlap}")


@dataclass(frozen=True, kw_only=True)
class FastRCNNSettings(TwoStageSettings):
    """Fast R-CNN (arXiv:1504.08083): regions come from selective search. The defaults of sampling and losses are those
    of the paper, and that of the suppression's overlap is its implementation's."""

    IMPLEMENTATION = "tfeff.tasks.fast_rcnn:FastRCNNTask"
    READING = frozenset({"stretch", "proposals"})
    TILES = False

    name: Literal["fast_rcnn"] = "fast_rcnn"
    network: rcnn.FastRCNN = choice(rcnn.FAST_TABLE, "fast-rcnn")
    proposals: SharedProposals = field(default_factory=SharedProposals)
    """The regions."""
    background_overlap: Fraction = 0.1
    """Only regions with at least this IoU with an object are sampled as background, because the others are easy; 0:
    all."""
    sampled_regions: Positive[int] = 64
    """Regions per image that the network learns from; the objects themselves are among the candidates."""
    smooth_l1_beta: NotNegative[float] = 1.0
    """Errors of codes count quadratically up to this value."""
    suppression: Suppression = field(default_factory=lambda: Suppression(overlap=0.3, minimum_score=0.05))

    def describe(self, model: Architecture) -> Detector:
        """See `TaskSettings`."""
        return replace(self.network, backbone=model, regions=self.proposals.max_proposals)


@dataclass(frozen=True, kw_only=True)
class RCNNSettings(TaskSettings):
    """R-CNN (arXiv:1311.2524): a head on the features of regions, which a frozen backbone computes once.

    The backbone is `model`, with the weights `model.weights`. Runs with other heads can share proposals and features.
    """

    IMPLEMENTATION = "tfeff.rcnn.task:RCNNTask"
    IS_DETECTOR = CUTS_REGIONS = True
    READING = frozenset({"proposals", "windows"})

    name: Literal["rcnn"] = "rcnn"
    network: rcnn.RCNN = choice(rcnn.TABLE, "rcnn")
    """Features and head."""
    proposals: RegionProposals = field(default_factory=RegionProposals)
    """The regions of the heads `joint` and `classic`."""
    features: RegionFeatures = field(default_factory=RegionFeatures)
    joint: Joint = field(default_factory=Joint)
    classic: Classic = field(default_factory=Classic)
    windows: Windows = field(default_factory=Windows)
    """The regions of a sliding window."""
    suppression: Suppression = field(
        default_factory=lambda: Suppression(overlap=0.3, minimum_score=0.01, candidates=10_000)
    )
    vote_overlap: Fraction | None = None
    """Box voting (Gidaris and Komodakis 2015): a detection's box is the average, weighted by score, of all boxes of its
    class whose IoU with it is at least this. It helps if objects are far apart. None: no voting."""
    missed: Fraction = 0.005
    """Sets the region threshold: at most this fraction of the validation objects is classified as background."""

    @property
    def fitted(self) -> bool:
        """See `TaskSettings`."""
        return self.network.head != "joint"

    def describe(self, model: Architecture) -> rcnn.RCNN:
        """See `TaskSettings`."""
        proposals = self.windows if self.network.head == "sliding_window" else self.proposals
        return replace(self.network, backbone=model, regions=proposals.max_proposals)

    def for_reading(self) -> Self:
        """See `TaskSettings`."""
        return replace(super().for_reading(), network=rcnn.RCNN(head=self.network.head))

    def located(self, workdir: Path) -> TaskSettings:
        """See `TaskSettings`."""
        found = self.proposals.directory or str(workdir / "proposals")
        return replace(
            self,
            proposals=replace(self.proposals, directory=found),
            windows=replace(self.windows, directory=self.windows.directory or str(Path(found) / "windows")),
            features=replace(self.features, directory=self.features.directory or str(workdir / "features")),
        )

    def _check(self) -> None:
        super()._check()
        if self.suppression.kind == "peaks":
            self.suppression.wrong("kind", NO_PEAKS)
        default, head = rcnn.TABLE["rcnn"], self.network.head
        _require_own_backbone(self.network, default)
        unused = () if head == "joint" else ("hidden", "dropout", "l1", "class_boxes")
        for key in (*unused, "grid") if head == "sliding_window" else unused:
            if (value := getattr(self.network, key)) != getattr(default, key):
                raise UserError(
                    f"config: task.network.{key} is {value!r}; it should be {getattr(default, key)!r}: "
                    f"task.network.head={head} does not use it"
                )


TASKS: dict[str, TaskSettings] = {
    settings.name: settings
    for settings in (
        ClassificationSettings(),
        EmbeddingSettings(),
        LocalizationSettings(),
        EfficientDetSettings(),
        RetinaNetSettings(),
        YoloSettings(),
        AnchorYoloSettings(),
        GridSettings(),
        FastRCNNSettings(),
        FasterRCNNSettings(),
        RCNNSettings(),
    )
}
"""The section of each task by its name, with its defaults."""


def of_detector(network: Detector) -> ObjectDetectionSettings:
    """Returns the section of the task that trains a detector, with its defaults.

    The section has the published backbone, because the section `model` describes the backbone.
    """
    published = replace(network, backbone=ALL_DETECTORS[network.name].backbone)
    sections = (each for each in TASKS.values() if isinstance(each, ObjectDetectionSettings))
    return replace(next(each for each in sections if type(each.network) is type(network)), network=published)


_PACKAGE = frozenset(TASKS)


def offer(section: TaskSettings) -> TaskSettings:
    """Makes the section of an own task known to this process, so that configs with its name can be changed and read.

    Returns:
        the section with its defaults.

    Raises:
        UserError: its name is that of a task of the package, or it has no defaults.
    """
    if type(section) is type(TASKS.get(section.name)):
        return TASKS[section.name]
    create: Any = type(section)
    kind = create.__name__
    if section.name in _PACKAGE:
        raise UserError(f'config: task: {kind}.name is "{section.name}", a task of the package; give it another name')
    try:
        default: TaskSettings = create()
    except TypeError as error:
        raise UserError(f"config: task: {kind} needs a default for each field ({error})") from None
    if default.name != section.name:
        raise UserError(
            f'config: task: {kind}.name should have a single value, such as name: Literal["{default.name}"]'
        )
    TASKS[section.name] = default
    return default
