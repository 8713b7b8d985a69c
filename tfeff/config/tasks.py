"""The sections of tasks. `Experiment.task` is one of them, selected by its key `name`.

A task is added here, with its section in `TASKS`; the section names the class that implements it.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from tfeff.config.proposals import SharedProposals
from tfeff.config.section import Section, at_least, fraction, positive
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.policy import Augmentation


@dataclass(frozen=True, kw_only=True)
class Task(Section):
    """What the network predicts, how it is trained for that, and the augmentation that suits it.

    This is the base of the sections in `TASKS`; each of them sets `IMPLEMENTATION` and the only value of `name`.
    """

    KEY = "task"
    IMPLEMENTATION = ""
    """The `tfeff.tasks.ImageTask`, as `module:class`. It is created with the section."""

    name: str
    plain_epochs: int = 0
    """Use only plain augmentation in this many last epochs, so that training ends on images like those at test time (Ge
    et al., "YOLOX", arXiv:2107.08430, section 2.1): random crops and flips, with boxes only flips."""

    @classmethod
    def variants(cls) -> dict[str, type["Task"]]:
        """See `Section`."""
        return TASKS

    def for_reading(self) -> "Task":
        """The same task with defaults for all keys that do not change how images are read."""
        return type(self)(name=self.name)

    def check(self) -> None:
        """Validates field values."""
        at_least(self, 0, "plain_epochs")
        augmentation: Augmentation | BoxAugmentation | None = getattr(self, "augmentation", None)
        if self.plain_epochs and (augmentation is None or augmentation == augmentation.plain):
            self.wrong("plain_epochs", "0, because there is no augmentation except crops and flips")


@dataclass(frozen=True, kw_only=True)
class TTA(Section):
    """Test-time augmentation, in evaluation and in the exported SavedModel."""

    KEY = "task.tta"

    mirrored: bool = False
    """Average the probabilities of each image and its mirror image. Doubles the cost."""
    shift: int = 0
    """Average the probabilities of each image and two copies shifted diagonally by this many pixels. Triples the
    cost."""

    def check(self) -> None:
        """Validates field values."""
        at_least(self, 0, "shift")


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """The class of an image."""

    IMPLEMENTATION = "tfeff.tasks.classification:Classification"

    name: Literal["classification"] = "classification"
    crop: bool = False
    """Keep the aspect ratio of images and crop the center, instead of stretching them to a square."""
    center_crop: float | None = None
    """Load whole images with their aspect ratio and evaluate the central square, whose side is this fraction of the
    shorter side: 0.875 is usual for 224 pixels. Training draws `augmentation.crop_area` from the whole image; if that
    is 0, it uses the central square, too. None: images are stretched, or cropped by `crop`."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How images are resized, always with antialiasing."""
    label_smoothing: float = 0.0
    """Fraction of each label spread evenly over all classes (arXiv:1512.00567)."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random variation of training images."""
    tta: TTA = field(default_factory=TTA)
    temperature_scaling: bool = False
    """Divide the trained network's logits by a temperature that minimizes the cross-entropy on the validation images,
    so that its confidences are calibrated (arXiv:1706.04599, section 4.2). Predicted classes do not change. Each
    validation takes a second pass over the validation images."""

    def for_reading(self) -> Task:
        """See `Task`."""
        return type(self)(
            name=self.name, crop=self.crop, center_crop=self.center_crop, interpolation=self.interpolation
        )

    def check(self) -> None:
        """Validates field values."""
        super().check()
        fraction(self, "label_smoothing", "center_crop")
        positive(self, "center_crop")
        if self.center_crop is not None and self.crop:
            self.wrong("crop", "false with task.center_crop, which loads whole images")
        if self.center_crop is not None and self.augmentation.crop_padding:
            self.wrong("augmentation", "without crop_padding with task.center_crop; set crop_area")
        if self.temperature_scaling and (self.tta.mirrored or self.tta.shift):
            self.wrong("temperature_scaling", "false with task.tta, which averages probabilities")


@dataclass(frozen=True, kw_only=True)
class Localization(Task):
    """Class and box of the single object in an image."""

    IMPLEMENTATION = "tfeff.tasks.localization:Localization"

    name: Literal["localization"] = "localization"
    class_weight: float = 1.0
    """α in the loss α × cross-entropy + β × squared error of the box."""
    box_weight: float = 10.0
    """β. The squared error is summed over the box's four coordinates, relative to the image size."""
    grid: int = 4
    """The last feature map is average-pooled to at most grid × grid cells before the box head."""
    hidden: tuple[int, ...] = (128,)
    """Units of the box head's hidden layers."""
    label_smoothing: float = 0.0
    """Fraction of each label spread evenly over all classes (arXiv:1512.00567)."""
    augmentation: BoxAugmentation = field(default_factory=BoxAugmentation)
    """Random variation of training images and their boxes."""

    def check(self) -> None:
        """Validates field values."""
        super().check()
        at_least(self, 0, "class_weight", "box_weight")
        positive(self, "grid")
        fraction(self, "label_smoothing")
        if self.class_weight == 0 and self.box_weight == 0:
            self.wrong("box_weight", "above 0, or class_weight: the loss would always be 0")
        for units in self.hidden:
            if units < 1:
                self.wrong("hidden", "numbers above 0")
        if self.augmentation.mosaic:
            self.wrong("augmentation", "without mosaic: a mosaic shows several objects")


@dataclass(frozen=True, kw_only=True)
class Neck(Section):
    """The feature pyramid of a detector. None: as in its table of published detectors."""

    KEY = "task.neck"

    name: Literal["fpn", "classic_fpn", "panet", "simplified_panet", "fully_connected", "bifpn", "nas_fpn"] | None = (
        None
    )
    levels: tuple[str, ...] | None = None
    """Pyramid levels, such as `P3,P4,P5`; level Pn has stride 2^n. Levels beyond the backbone's last are added."""
    channels: int | None = None
    repeats: int | None = None
    """Number of cells, one after the other."""
    width_coefficient: float | None = None
    """Factor on the channels of neck and heads."""
    depth_coefficient: float | None = None
    """Factor on the cells of the neck and on the convolutions of each head."""
    fusion: Literal["sum", "unbounded", "softmax", "fast"] | None = None
    """How nodes add their inputs: with equal weights, or with learned ones (arXiv:1911.09070, section 3.3)."""
    fusion_per_channel: bool | None = None
    """Learn a fusion weight for each channel instead of one per input."""
    separable: bool | None = None
    """Depthwise-separable convolutions in neck and heads instead of plain ones."""

    def check(self) -> None:
        """Validates field values."""
        positive(self, "channels", "repeats", "width_coefficient", "depth_coefficient")

    def scaled(self, *, neck_depth: float = 1.0, neck_width: float = 1.0) -> Self:
        """With both coefficients, multiplied by these factors."""
        return replace(
            self,
            depth_coefficient=(self.depth_coefficient or 1.0) * neck_depth,
            width_coefficient=(self.width_coefficient or 1.0) * neck_width,
        )

    def options(self) -> dict[str, Any]:
        """The fields of `tfeff.models.Detector` that are set."""
        own = ("channels", "repeats", "width_coefficient", "depth_coefficient")
        renamed = {"name": "neck", **{key: f"neck_{key}" for key in own}}
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {renamed.get(key, key): value for key, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Suppression(Section):
    """From predictions to detections: threshold, non-maximum suppression, and limits."""

    KEY = "task.suppression"

    kind: Literal["hard", "gaussian"] = "hard"
    """`hard` removes boxes that overlap a better one by more than `overlap`. `gaussian` (soft-NMS, arXiv:1704.04503)
    lowers their scores by exp(-IoU^2 / sigma)."""
    overlap: float = 0.5
    """`hard` removes a box if its IoU with a better one exceeds this."""
    sigma: float = 0.5
    """Width of `gaussian`."""
    class_agnostic: bool = False
    """Boxes of different classes suppress each other, too."""
    minimum_score: float = 0.001
    """Boxes with a lower score are dropped. A low value costs nothing but time, and mean average precision needs it;
    to show detections, choose a higher threshold for them."""
    candidates: int = 1000
    """At most this many boxes, those with the best scores, enter the suppression."""
    detections: int = 100
    """At most this many detections per image remain."""

    def check(self) -> None:
        """Validates field values."""
        fraction(self, "overlap", "minimum_score")
        positive(self, "sigma", "candidates", "detections")


@dataclass(frozen=True, kw_only=True)
class ObjectDetection(Task):
    """Objects in an image. The base of the detectors' sections.

    The network is a published detector with another backbone: `model.name` and the other keys of `model`."""

    NETWORK = tuple[str, ...](("aspect", "head_repeats"))
    """Keys that are fields of `tfeff.models.Detector`."""

    member: str | None = None
    """Published detector that gives all values that are None here and in `model`; `python -m tfeff.summary
    --family=efficientdet` lists them. None: the one that has the backbone `model.name`, else the smallest."""
    aspect: float = 1.0
    """Width of the network's input divided by its height; `model.resolution` is the longer side. Images are padded to
    this aspect ratio, so that of most images saves time: 4/3 saves a quarter on images of 640x480 pixels."""
    neck: Neck = field(default_factory=Neck)
    head_repeats: int | None = None
    """Number of convolutions of each head before its last."""
    suppression: Suppression = field(default_factory=Suppression)
    max_objects: int = 100
    """Objects of a training image that are used, the largest ones."""
    stretch: bool = False
    """Stretch images to the network's input instead of padding them."""
    augmentation: BoxAugmentation = field(default_factory=BoxAugmentation)
    """Random variation of training images and their boxes."""

    def for_reading(self) -> Task:
        """See `Task`."""
        return type(self)(name=self.name, stretch=self.stretch, aspect=self.aspect)

    def check(self) -> None:
        """Validates field values."""
        super().check()
        positive(self, "max_objects", "aspect")
        at_least(self, 0, "head_repeats")

    def options(self) -> dict[str, Any]:
        """The fields of `tfeff.models.Detector` that are set."""
        given = {key: getattr(self, key) for key in self.NETWORK}
        return self.neck.options() | {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class EfficientDet(ObjectDetection):
    """EfficientDet (arXiv:1911.09070): anchors, focal loss for classes and Huber loss for boxes. The defaults are those
    of the reference implementation."""

    IMPLEMENTATION = "tfeff.tasks.efficientdet:EfficientDet"
    NETWORK = (*ObjectDetection.NETWORK, "anchor_size", "anchor_scales", "anchor_aspects")

    name: Literal["efficientdet"] = "efficientdet"
    anchor_size: float | None = None
    """Side of the smallest square anchor of a level, in strides. None: that of the published detector."""
    anchor_scales: tuple[float, ...] | None = None
    """Factors of the side. None: 1, 2^(1/3), 2^(2/3)."""
    anchor_aspects: tuple[float, ...] | None = None
    """Width divided by height. None: 1, 2, 1/2."""
    positive_overlap: float = 0.5
    """Anchors with at least this IoU with an object, and the best anchor of each object, are positive."""
    negative_overlap: float = 0.5
    """Anchors with a lower IoU with every object are negative; those in between are ignored."""
    focal_alpha: float = 0.25
    """Weight of positive examples in the focal loss; 1 - α is that of negative ones (arXiv:1708.02002)."""
    focal_gamma: float = 1.5
    """The focal loss multiplies the cross-entropy by (1 - p)^γ, where p is the probability of the right answer."""
    huber_delta: float = 0.1
    """The loss of a box code is quadratic up to this error and linear beyond it."""
    box_weight: float = 50.0
    """Factor of the box loss."""

    def check(self) -> None:
        """Validates field values."""
        super().check()
        fraction(self, "positive_overlap", "negative_overlap", "focal_alpha")
        at_least(self, 0, "focal_gamma", "box_weight")
        positive(self, "huber_delta")
        if self.negative_overlap > self.positive_overlap:
            self.wrong("negative_overlap", f"at most task.positive_overlap = {self.positive_overlap}")


@dataclass(frozen=True, kw_only=True)
class Yolo(ObjectDetection):
    """YOLO without anchors: task-aligned assignment (TOOD, arXiv:2108.07755) and distances to the sides of a box as
    distributions (arXiv:2006.04388)."""

    IMPLEMENTATION = "tfeff.tasks.yolo:Yolo"
    NETWORK = (*ObjectDetection.NETWORK, "bins")

    name: Literal["yolo"] = "yolo"
    bins: int | None = None
    """Distances are predicted from 0 to `bins` - 1 strides. None: 16."""
    alpha: float = 1.0
    """Exponent of the class score in the alignment metric."""
    beta: float = 6.0
    """Exponent of the overlap."""
    positives: int = 13
    """Cells per object, those with the largest metric."""
    alignment_overlap: Literal["iou", "ciou"] = "iou"
    """Overlap in the alignment metric; a negative CIoU counts as 0."""
    class_weight: float = 0.5
    """Factor of the binary cross-entropy."""
    box_weight: float = 7.5
    """Factor of the loss 1 - CIoU."""
    distance_weight: float = 1.5
    """Factor of the distribution focal loss."""

    def check(self) -> None:
        """Validates field values."""
        super().check()
        positive(self, "positives", "bins")
        at_least(self, 0, "alpha", "beta", "class_weight", "box_weight", "distance_weight")


@dataclass(frozen=True, kw_only=True)
class AnchorYolo(ObjectDetection):
    """YOLO with anchors (arXiv:1804.02767): each object is learned by the anchor whose shape fits best."""

    IMPLEMENTATION = "tfeff.tasks.anchor_yolo:AnchorYolo"
    NETWORK = (*ObjectDetection.NETWORK, "anchors")

    name: Literal["anchor_yolo"] = "anchor_yolo"
    anchors: tuple[float, ...] | None = None
    """Height, width, height, width, ... relative to the network's input, from small to large; the first ones belong to
    the finest level. None: k-means on the boxes of the training images."""
    anchors_per_level: int = 3
    """Number of anchors of each level, if they come from k-means."""
    ignore_overlap: float = 0.7
    """Predictions that are not positive, but overlap an object by more than this IoU, learn no objectness."""
    object_weight: float = 1.0
    """Factor of the objectness loss."""
    class_weight: float = 1.0
    """Factor of the class loss."""
    box_weight: float = 1.0
    """Factor of the box loss."""

    def check(self) -> None:
        """Validates field values."""
        super().check()
        positive(self, "anchors_per_level")
        fraction(self, "ignore_overlap")
        at_least(self, 0, "object_weight", "class_weight", "box_weight")


@dataclass(frozen=True, kw_only=True)
class Grid(ObjectDetection):
    """A grid of cells (YOLO, arXiv:1506.02640). The cells are those of the finest level in `task.neck.levels`."""

    IMPLEMENTATION = "tfeff.tasks.grid:Grid"
    NETWORK = (*ObjectDetection.NETWORK, "boxes")

    name: Literal["grid"] = "grid"
    boxes: int = 2
    """Boxes per cell; the one that fits the cell's object best learns it."""
    box_weight: float = 5.0
    """Factor of the box loss."""
    no_object_weight: float = 0.5
    """Factor of the confidence loss of boxes that are not responsible for an object."""

    def check(self) -> None:
        """Validates field values."""
        super().check()
        positive(self, "boxes")
        at_least(self, 0, "box_weight", "no_object_weight")


@dataclass(frozen=True, kw_only=True)
class TwoStage(ObjectDetection):
    """Detectors whose second stage classifies and refines regions. The defaults are those of torchvision."""

    NETWORK = (*ObjectDetection.NETWORK, "pooling", "pooling_size", "sampling", "aligned", "hidden")

    pooling: Literal["align", "max"] | None = None
    """How features of a region are read: RoIAlign, or the max-pooling of Fast R-CNN, which reads a single level. None:
    RoIAlign, except in the published Fast R-CNN."""
    pooling_size: int | None = None
    """Bins along each side of a region. None: 7."""
    sampling: int | None = None
    """Bilinear samples per bin along each side. None: 2."""
    aligned: bool | None = None
    """Move regions by half a pixel of the feature map, as Detectron2 does. None: no."""
    hidden: tuple[int, ...] | None = None
    """Units of the dense layers of the second stage. None: 1024, 1024."""
    region_overlap: float = 0.5
    """Regions with at least this IoU with an object are positive, the others are background."""
    background_overlap: float = 0.0
    """Only regions with at least this IoU with an object are sampled as background; 0: all."""
    sampled_regions: int = 512
    """Regions per image that the second stage learns from; the objects themselves are among the candidates."""
    positive_regions: float = 0.25
    """At most this share of them is positive."""
    smooth_l1_beta: float = 1 / 9
    """Errors of codes count quadratically up to this value; 0 for the absolute error, as in Detectron2."""
    suppression: Suppression = field(default_factory=lambda: Suppression(minimum_score=0.05))

    def check(self) -> None:
        """Validates field values."""
        super().check()
        positive(self, "pooling_size", "sampling", "sampled_regions")
        fraction(self, "region_overlap", "background_overlap", "positive_regions")
        if self.background_overlap > self.region_overlap:
            self.wrong("background_overlap", f"at most task.region_overlap = {self.region_overlap}")
        at_least(self, 0, "smooth_l1_beta")
        for units in self.hidden or ():
            if units < 1:
                self.wrong("hidden", "numbers above 0")


@dataclass(frozen=True, kw_only=True)
class FasterRCNN(TwoStage):
    """Faster R-CNN (arXiv:1506.01497), with a feature pyramid (arXiv:1612.03144) or on a single level
    (`task.neck.levels=P4`)."""

    IMPLEMENTATION = "tfeff.tasks.faster_rcnn:FasterRCNN"
    NETWORK = (*TwoStage.NETWORK, "pooled_level", "anchor_size", "anchor_scales", "anchor_aspects")

    name: Literal["faster_rcnn"] = "faster_rcnn"
    pooled_level: bool | None = None
    """Also propose regions from the last level, subsampled by 2. None: yes."""
    anchor_size: float | None = None
    """Side of the square anchor of a level, in strides. None: 8."""
    anchor_scales: tuple[float, ...] | None = None
    """Factors of the side. None: 1."""
    anchor_aspects: tuple[float, ...] | None = None
    """Width divided by height. None: 2, 1, 1/2."""
    positive_overlap: float = 0.7
    """Anchors with at least this IoU with an object, and the best anchors of each object, are positive."""
    negative_overlap: float = 0.3
    """Anchors with a lower IoU with every object are negative; those in between are ignored."""
    sampled_anchors: int = 256
    """Anchors per image that the first stage learns from."""
    positive_anchors: float = 0.5
    """At most this share of them is positive."""
    proposal_overlap: float = 0.7
    """A proposal is dropped if its IoU with a better one of its level exceeds this."""
    proposals_per_level: int = 1000
    """Proposals of a level before suppression."""
    proposals: int = 1000
    """Proposals per image that the second stage sees. The multiply-adds of a network are counted for this number."""
    training_proposals_per_level: int = 2000
    """As `proposals_per_level`, in training."""
    training_proposals: int = 2000
    """Proposals per image from which the regions for training are sampled."""

    def check(self) -> None:
        """Validates field values."""
        super().check()
        numbers = ("proposals_per_level", "proposals", "training_proposals_per_level", "training_proposals")
        positive(self, "sampled_anchors", "anchor_size", *numbers)
        fraction(self, "positive_overlap", "negative_overlap", "positive_anchors", "proposal_overlap")
        if self.negative_overlap > self.positive_overlap:
            self.wrong("negative_overlap", f"at most task.positive_overlap = {self.positive_overlap}")

    def options(self) -> dict[str, Any]:
        """The fields of `tfeff.models.Detector` that are set."""
        return super().options() | {"regions": self.proposals}


@dataclass(frozen=True, kw_only=True)
class FastRCNN(TwoStage):
    """Fast R-CNN (arXiv:1504.08083): regions come from selective search. The defaults of sampling and losses are those
    of the paper, and that of the suppression's overlap is its implementation's."""

    IMPLEMENTATION = "tfeff.tasks.fast_rcnn:FastRCNN"

    name: Literal["fast_rcnn"] = "fast_rcnn"
    proposals: SharedProposals = field(default_factory=SharedProposals)
    """The regions."""
    background_overlap: float = 0.1
    """Only regions with at least this IoU with an object are sampled as background, because the others are easy; 0:
    all."""
    sampled_regions: int = 64
    """Regions per image that the network learns from; the objects themselves are among the candidates."""
    smooth_l1_beta: float = 1.0
    """Errors of codes count quadratically up to this value."""
    suppression: Suppression = field(default_factory=lambda: Suppression(overlap=0.3, minimum_score=0.05))

    def for_reading(self) -> Task:
        """See `Task`."""
        return type(self)(name=self.name, stretch=self.stretch, aspect=self.aspect, proposals=self.proposals)

    def options(self) -> dict[str, Any]:
        """The fields of `tfeff.models.Detector` that are set."""
        return super().options() | {"regions": self.proposals.max_proposals}


TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "localization": Localization,
    "efficientdet": EfficientDet,
    "yolo": Yolo,
    "anchor_yolo": AnchorYolo,
    "grid": Grid,
    "fast_rcnn": FastRCNN,
    "faster_rcnn": FasterRCNN,
}
"""Section of each task by its name."""
