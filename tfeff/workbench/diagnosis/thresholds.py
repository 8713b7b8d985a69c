"""The judgments of the diagnosis: from which value on a measurement breaks a link, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A limit.

    Attributes:
        value: of the limit.
        why: this value.
    """

    value: float
    why: str


TABLE = {
    "unreadable_images": Threshold(0.01, "a stray damaged file is common; more means a broken copy"),
    "blank_images": Threshold(0.05, "single blank frames occur in recordings"),
    "damaged_boxes": Threshold(0.01, "published datasets have a few bad boxes (BCCD: 0.04 %), readers drop them"),
    "outside_share": Threshold(0.1, "a box that loses less of its area at the image's border was drawn imprecisely"),
    "valid_reading": Threshold(0.99, "in the right format, practically all boxes lie inside their images"),
    "mixed_reading": Threshold(0.95, "of the boxes of the images in which some boxes are implausible"),
    "box_tolerance": Threshold(0.01, "rounding and off-by-one corners move a box by about a pixel"),
    "smallest_side": Threshold(1.0, "pixels; nobody draws smaller boxes, but relative coordinates read as pixels are"),
    "evidence_wins": Threshold(
        0.6,
        "right boxes contrast more with their surroundings than wrong ones for 60 to 99 % "
        "of objects (raccoon to drawn digits)",
    ),
    "evidence_z": Threshold(4.0, "standard deviations from a coin toss: several readings are compared"),
    "foreign_wins": Threshold(0.6, "boxes of other images lose against the right ones for 60 % of objects or more"),
    "foreign_boxes": Threshold(100, "with fewer boxes, an image without visible contrast could be chance"),
    "corner_extent": Threshold(0.6, "of 30 boxes in 10 images, some reach into the last 40 % of height or width"),
    "whole_image": Threshold(0.5, "boxes around the whole image are placeholders, not annotations"),
    "repeated_boxes": Threshold(0.3, "the same numbers in many images are placeholders"),
    "duplicate_objects": Threshold(0.05, "an annotation listed twice trains twice and counts one false positive"),
    "unnamed_labels": Threshold(0.001, "labels outside of the class list are never typing errors of one object"),
    "unused_classes": Threshold(
        0.5,
        "subsets lack some classes of their list (COCO128: 9 of 80); a list of which most is unused "
        "belongs to another dataset",
    ),
    "rare_spelling": Threshold(0.1, "a name that differs by one letter and is this much rarer is a typing error"),
    "empty_images": Threshold(0.5, "some images without objects are useful; if most are, annotations are missing"),
    "gap_images": Threshold(10, "images in a row; shorter gaps occur by chance"),
    "gap_share": Threshold(0.02, "of all images"),
    "gap_rate": Threshold(0.8, "of comparable images that have the class; rarer ones may be absent from a whole scene"),
    "exchanged_objects": Threshold(20, "of both classes; fewer have odd sizes in a row by chance"),
    "exchanged_share": Threshold(0.85, "of the objects: the sizes of the two classes are then different enough"),
    "padded_images": Threshold(0.3, "single pictures have uniform borders of their own"),
    "box_on_padding": Threshold(0.03, "of a box's area; boxes drawn by hand reach over the picture's edge by a pixel"),
    "boxes_on_padding": Threshold(0.2, "of the boxes of padded images; right boxes never lie on bars"),
    "shifted_images": Threshold(10, "images in a row; in shorter stretches, the neighbor's boxes fit better by chance"),
    "shift_advantage": Threshold(1.5, "times the advantage of shifts that nothing explains"),
    "split_chance": Threshold(1e-4, "probability that a random split puts all images of a class on one side"),
    "shifted_distance": Threshold(0.25, "total variation distance between the classes of two splits"),
    "duplicate_images": Threshold(0.01, "published datasets contain copies (raccoon: 1 of 20)"),
    "few_objects": Threshold(10, "a class with fewer objects is rarely learned"),
    "dropped_objects": Threshold(0.05, "objects beyond task.max_objects train as background"),
    "surviving_objects": Threshold(0.6, "strong crops lose a third of the objects; losing more starves the training"),
    "input_mean": Threshold(3.0, "bright or dark photographs are up to 2 standard deviations from the mean"),
    "input_std_low": Threshold(0.1, "flat images of microscopes have 0.3; images in [0, 1] have less than 0.01"),
    "input_std_high": Threshold(4.0, "black-and-white drawings have 2.2"),
    "tiny_objects": Threshold(0.25, "objects shorter than half a cell of the finest level"),
    "unlearned_objects": Threshold(0.1, "objects that no anchor or cell learns; crowded cells and tiny objects"),
    "low_overlap": Threshold(
        0.35,
        "an anchor with a lower IoU has little in common with the object; published anchors "
        "have a median of 0.6 to 0.7",
    ),
    "low_overlap_share": Threshold(0.5, "of objects; those with poor anchors are learned by force, but badly"),
    "loss_decrease": Threshold(0.1, "of the first epoch's loss; learning anything reduces it by more"),
    "loss_rise": Threshold(1.5, "times the lowest training loss: the last epochs destroyed what was learned"),
    "still_falling": Threshold(0.1, "of the loss, over the last fifth of the epochs"),
    "few_updates": Threshold(300, "detectors from scratch need thousands of updates, fine-tuned ones hundreds"),
    "low_recall": Threshold(0.3, "of objects; below it, a detector finds nothing for practical purposes"),
    "low_ap": Threshold(0.2, "mean average precision on training images; even short trainings exceed it"),
    "stage_loss": Threshold(0.5, "a stage that loses this share of what reached it breaks the chain"),
    "never_learned": Threshold(0.65, "area under the ROC curve of scores, objects against background; chance is 0.5"),
    "permuted_labels": Threshold(0.7, "of localized objects, explained by an exchange of labels, not by the labels"),
    "generalization": Threshold(0.5, "recall on other images relative to that on training images"),
    "detected_class": Threshold(20, "training objects of a class from which on it should be detected at all"),
}
"""Every limit of the diagnosis."""


def limit(name: str) -> float:
    """The value of a threshold."""
    return TABLE[name].value
