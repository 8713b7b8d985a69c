"""The sections of tasks. `Experiment.task` is one of them, selected by its key `name`.

A task is added here, with its section in `TASKS`; the section names the class that implements it.
"""

from dataclasses import dataclass, field
from typing import Literal

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
    label_smoothing: float = 0.0
    """Fraction of each label spread evenly over all classes (arXiv:1512.00567)."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random variation of training images."""
    tta: TTA = field(default_factory=TTA)

    def check(self) -> None:
        """Validates field values."""
        super().check()
        fraction(self, "label_smoothing")


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


TASKS: dict[str, type[Task]] = {"classification": Classification, "localization": Localization}
"""Section of each task by its name."""
