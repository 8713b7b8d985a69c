"""The sections inside those of tasks: test-time augmentation, suppression, region proposals, and the parts of R-CNN."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfeff.config.section import Fraction, NotNegative, Positive, Section


@dataclass(frozen=True, kw_only=True)
class TTA(Section):
    """Test-time augmentation, in evaluation and in the exported SavedModel."""

    KEY = "task.tta"

    mirrored: bool = False
    """Average the probabilities of each image and its mirror image. Doubles the cost."""
    shift: NotNegative[int] = 0
    """Average the probabilities of each image and two copies shifted diagonally by this many pixels. Triples the
    cost."""


@dataclass(frozen=True, kw_only=True)
class Suppression(Section):
    """From predictions to detections: threshold, non-maximum suppression, and limits. With `kind=peaks` and
    `task.network.end_to_end=true`, only `minimum_score` and `detections` apply."""

    KEY = "task.suppression"

    kind: Literal["hard", "gaussian", "peaks"] = "hard"
    """`hard` removes boxes that overlap a better one by more than `overlap`. `gaussian` (soft-NMS, arXiv:1704.04503)
    lowers their scores by exp(-IoU^2 / sigma). `peaks` (of `yolo` alone) compares no boxes: a cell detects a class if
    none of its up to eight neighbors in the same level has a higher score for it (arXiv:1904.07850, section 4)."""
    overlap: Fraction = 0.5
    """`hard` removes a box if its IoU with a better one exceeds this."""
    sigma: Positive[float] = 0.5
    """Width of `gaussian`."""
    class_agnostic: bool = False
    """Boxes of different classes suppress each other, too."""
    minimum_score: Fraction = 0.001
    """Boxes with a lower score are dropped. A low value costs nothing but time, and mean average precision needs it;
    to show detections, choose a higher threshold for them."""
    candidates: Positive[int] | None = None
    """At most this many boxes, those with the best scores, enter the suppression. None: 1,000 if at most 100
    detections remain, else 20 for each of them, because many boxes lie on each object."""
    detections: Positive[int] = 100
    """At most this many detections per image remain."""

    def _check(self) -> None:
        # `overlap` may stay with `gaussian`: tasks and shipped configs set it for `hard`, and `kind` is a flag away.
        if self.kind != "gaussian" and self.sigma != Suppression.sigma:
            reason = f"{self.kind} does not use it"
            self.wrong("sigma", f"{Suppression.sigma}, or set task.suppression.kind=gaussian: {reason}")
        if self.kind == "peaks":
            self.check_unused("peaks compare no boxes")

    def check_unused(self, reason: str) -> None:
        """Raises UserError if a setting is not its default that only the comparison of boxes uses."""
        for key in ("overlap", "class_agnostic", "candidates"):
            default = getattr(Suppression, key)
            if getattr(self, key) != default:
                self.wrong(key, f"{default!r}: {reason}")

    @property
    def entering(self) -> int:
        """The number of boxes that enter the suppression: `candidates`, or what follows from `detections`."""
        return self.candidates or (1_000 if self.detections <= 100 else 20 * self.detections)


@dataclass(frozen=True, kw_only=True)
class StoredProposals(Section):
    """Region proposals in a store. The base of the sections for each method."""

    max_proposals: Positive[int] = 1000
    """Maximum number of proposals per image."""
    directory: str | None = None
    """Proposal store of `tfeff.propose`; missing proposals are computed and added. None: a store in the workdir."""

    @property
    def store(self) -> Path:
        """The directory.

        Raises:
            UserError: there is none.
        """
        if self.directory is None:
            self.wrong("directory", "a directory for the proposals; runs with the same settings can share it")
        return Path(self.directory)


@dataclass(frozen=True, kw_only=True)
class Proposals(StoredProposals):
    """Region proposals by selective search."""

    KEY = "data.proposals"

    mode: Literal["single", "fast", "quality"] = "fast"
    """Mode of selective search: the number of color spaces and segmentations that it combines."""


@dataclass(frozen=True, kw_only=True)
class RegionProposals(Proposals):
    """The regions that a task reads."""

    KEY = "task.proposals"

    max_proposals: Positive[int] = 2000
    """Maximum number of proposals per image, for which multiply-adds are counted."""


@dataclass(frozen=True, kw_only=True)
class SharedProposals(RegionProposals):
    """Regions in a store that several runs share."""

    directory: str | None = None
    """Proposal store of `tfeff.propose`, required; missing proposals are computed and added."""


@dataclass(frozen=True, kw_only=True)
class Windows(StoredProposals):
    """Windows of several sizes and aspect ratios, on a grid."""

    KEY = "task.windows"

    max_proposals: Positive[int] = 2000
    """Maximum number of windows per image, for which multiply-adds are counted. If there are more, they are sampled
    evenly over scales and ratios."""
    directory: str | None = None
    """Store of the windows. None: the folder `windows` in `task.proposals.directory`."""
    scales: tuple[float, ...] = (1.0, 0.71, 0.5, 0.35, 0.25, 0.177, 0.125, 0.088, 0.0625)
    """Square roots of window area / image area."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height / width of the windows, relative to the image's own height / width."""
    overlap: float = 0.75
    """Overlap of neighboring windows, as a fraction of the window's side."""

    def _check(self) -> None:
        for key in ("scales", "ratios"):
            if not getattr(self, key) or min(getattr(self, key)) <= 0:
                self.wrong(key, "numbers above 0, at least one")
        if max(self.scales) > 1:
            self.wrong("scales", "1 or less")
        if not 0 <= self.overlap < 1:
            self.wrong("overlap", "0 or more and below 1")


@dataclass(frozen=True, kw_only=True)
class RegionFeatures(Section):
    """The features of a region."""

    KEY = "task.features"

    context: NotNegative[int] = 0
    """Margin around the region, in pixels of the backbone's input (16 of 227 in arXiv:1311.2524)."""
    directory: str | None = None
    """Store of features, which runs with the same backbone and regions can share. None: inside the workdir."""


@dataclass(frozen=True, kw_only=True)
class Joint(Section):
    """The batches of a joint head: softmax over classes and background, and box regression, trained together."""

    KEY = "task.joint"

    positives: Positive[int] = 100
    """Positive regions per batch, out of `training.batch_size`; the others are background."""
    positive_overlap: Fraction = 0.5
    """A region is positive if its IoU with an object is above this."""
    negative_overlap: Fraction = 0.5
    """A region is background if its IoU with every object is below this."""

    def _check(self) -> None:
        if self.negative_overlap > self.positive_overlap:
            self.wrong("negative_overlap", f"positive_overlap = {self.positive_overlap} or less")


@dataclass(frozen=True, kw_only=True)
class Classic(Section):
    """The classic heads: for each class a linear SVM and ridge regression (arXiv:1311.2524, section 2.3, appendices B
    and C)."""

    KEY = "task.classic"

    negative_overlap: Fraction = 0.3
    """A region is a negative of a class if its IoU with every object of the class is below this."""
    penalty: Positive[float] = 1e-3
    """C of the SVMs."""
    positive_weight: Positive[float] = 2.0
    """Weight of a positive relative to a negative."""
    mining_rounds: Positive[int] = 6
    """Rounds of hard negative mining."""
    hardest: Positive[int] = 4000
    """Maximum number of negatives added per round of mining."""
    box_overlap: Fraction = 0.6
    """Box regression trains on regions whose IoU with their object is above this."""
    ridge: Positive[float] = 1000.0
    """Regularization λ of the ridge regression."""


@dataclass(frozen=True, kw_only=True)
class Teacher(Section):
    """Trained networks whose outputs the network learns to imitate (Hinton et al., arXiv:1503.02531).

    Teacher and network see the same augmented image (Beyer et al., arXiv:2106.05237).
    """

    KEY = "task.teacher"

    runs: tuple[str, ...] = ()
    """Workdirs of finished runs of the same task on the same classes, whose outputs are averaged. For classification, a
    published network, such as `efficientnet-lite2`, can be a teacher of `features`."""
    weight: Fraction = 0.7
    """Share of the imitation in the loss; the rest is that of the labels, which images of `data.unlabeled` lack. At
    1, labels are not used."""
    temperature: Positive[float] = 2.0
    """For classification: divides the logits of both, so that small probabilities count more."""
    features: NotNegative[float] = 0.0
    """For classification: weight of the squared difference of the features before the classifier, relative to the
    variance of the teacher's. Teachers with another number of features are imitated in the similarities that the
    features of the images of a batch have (Tung and Mori, arXiv:1907.09682)."""
    variants: Positive[int] | None = None
    """Compute the teachers' outputs once, for this many augmented variants of each image, and store them: the
    augmentation of an image repeats after this many epochs. None: the teachers see the images of each step, which are
    new in every epoch."""

    def _check(self) -> None:
        if self.runs and not self.weight and not self.features:
            self.wrong("weight", "above 0, or set task.teacher.features: else nothing is imitated")
