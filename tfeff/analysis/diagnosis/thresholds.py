"""The thresholds of the diagnosis: when a measurement counts as a fault, and why.

How something is measured, such as the width of the frame around a box, is defined where it is measured.
"""

from tfeff.recipes import rules

THRESHOLDS = {
    # images
    "unreadable_images": 0.01,  # a stray damaged file is common; more means a broken copy
    "orphan_annotations": 0.01,  # a few images get lost; more means that names do not match
    "blank_images": 0.05,  # single blank frames occur in recordings
    # boxes
    "damaged_boxes": 0.01,  # published datasets have a few bad boxes (BCCD: 0.04 %), readers drop them
    "outside_share": 0.1,  # a box that loses less of its area at the image's border was drawn imprecisely
    "box_tolerance": 0.01,  # rounding and off-by-one corners move a box by about a pixel
    "smallest_side": 1.0,  # pixels; nobody draws smaller boxes, but relative coordinates read as pixels are
    "wrong_image_sizes": 0.01,  # a few images were replaced; more were resized after the annotation
    "valid_reading": 0.99,  # in the correct format, practically all boxes lie inside their images
    "valid_gain": 0.005,  # of all boxes; another format must make more of them plausible
    "valid_loss": 0.02,  # of all boxes; a few at the border are implausible in any other format
    "mixed_reading": 0.95,  # of the boxes of the images in which some boxes are implausible
    "mixed_images": 3,  # images; fewer are single mistakes, not another format
    "same_reading": 0.8,  # median IoU; with a higher one, two readings differ too little to matter
    # correct boxes contrast more with their surroundings than wrong ones for 60 to 99 % of objects (raccoon to drawn
    # digits)
    "evidence_wins": 0.6,
    "evidence_z": 4.0,  # standard deviations from a coin toss: several readings are compared
    "worse_z": 2.0,  # standard deviations from a coin toss: only two readings are compared
    "foreign_wins": 0.6,  # boxes of other images lose against the correct ones for 60 % of objects or more
    "foreign_boxes": 100,  # with fewer boxes, an image without visible contrast could be chance
    "corner_extent": 0.6,  # of 30 boxes in 10 images, some reach into the last 40 % of height or width
    "corner_images": 10,  # in fewer images, all objects may lie in a corner by chance
    "pattern_boxes": 30,  # fewer boxes show no pattern in where they lie
    "whole_image": 0.5,  # boxes around the whole image are placeholders, not annotations
    "repeated_boxes": 0.3,  # the same numbers in many images are placeholders
    "repeated_images": 20,  # in fewer images, one box may be repeated because the camera did not move
    "duplicate_objects": 0.05,  # so many repetitions are a fault of the export
    "padded_images": 0.3,  # single pictures have uniform borders of their own
    "box_on_padding": 0.03,  # of a box's area; boxes drawn by hand reach over the picture's edge by a pixel
    "boxes_on_padding": 0.2,  # of the boxes of padded images; correct boxes never lie on bars
    "shifted_images": 10,  # images in a row; in shorter stretches, the neighbor's boxes fit better by chance
    "shift_advantage": 1.5,  # times the advantage of shifts that nothing explains
    # classes
    "unnamed_labels": 0.001,  # labels outside of the class list are never typing errors of one object
    # subsets lack some classes of their list (COCO128: 9 of 80); a list of which most is unused belongs to another
    # dataset
    "unused_classes": 0.5,
    "long_name": 5,  # letters; similar names that are shorter, such as car and cat, are different classes
    "similar_names": 0.9,  # ratio of matching letters; a long name that differs by one letter has 0.9
    "rare_spelling": 0.1,  # a name that differs by one letter and is this much rarer is a typing error
    "compared_labels": 50,  # fewer labels of a split do not show the frequencies of its classes
    "shifted_distance": 0.25,  # total variation distance between the classes of two splits
    "shift_explains": 1 / 3,  # of this distance, at most, may be left after labels are shifted by one
    "swapped_objects": 20,  # of both classes; fewer have odd sizes in a row by chance
    "swapped_share": 0.85,  # of the objects: the sizes of the two classes are then different enough
    # objects
    "empty_images": 0.5,  # some images without objects are useful; if most are, annotations are missing
    "gap_images": 10,  # images in a row; shorter gaps occur by chance
    "gap_share": 0.02,  # of all images
    "gap_rate": 0.8,  # of comparable images that have the class; rarer ones may be absent from a whole scene
    "split_chance": 1e-4,  # probability that a random split puts all images of a class on one side
    "few_objects": 10,  # a class with fewer objects is rarely learned
    "class_imbalance": rules.IMBALANCE,  # times the rarest class; recipes then sample all classes equally often
    # splits
    "duplicate_images": 0.01,  # published datasets contain copies (raccoon: 1 of 20)
    "duplicate_count": 3,  # images; fewer hardly change a result
    # preparation
    "black_images": 0.01,  # single frames are black; more were saved in [0, 1]
    "dropped_objects": 0.05,  # objects beyond task.max_objects train as background
    "surviving_objects": 0.6,  # strong crops lose a third of the objects; losing more starves the training
    "input_mean": 3.0,  # bright or dark photographs are up to 2 standard deviations from the mean
    "input_std_low": 0.1,  # flat images of microscopes have 0.3; images in [0, 1] have less than 0.01
    "input_std_high": 4.0,  # black-and-white drawings have 2.2
    # assignment
    "tiny_objects": 0.25,  # objects shorter than half a cell of the finest level
    "unlearned_objects": 0.1,  # objects that no anchor or cell learns; crowded cells and tiny objects
    # an anchor with a lower IoU has little in common with the object; published anchors have a median of 0.6 to 0.7
    "low_overlap": 0.35,
    "low_overlap_share": 0.5,  # of objects with poor anchors; their forced matches train poorly
    "better_settings": 0.1,  # of objects; settings that cover fewer additional ones are not recommended
    # training
    "loss_decrease": 0.1,  # of the first epoch's loss; learning anything reduces it by more
    "loss_rise": 1.5,  # times the lowest training loss: the last epochs destroyed what was learned
    "still_falling": 0.1,  # of the loss, over the last fifth of the epochs
    "falling_epochs": 5,  # epochs; shorter trainings always end while the loss is falling
    "few_updates": 300,  # detectors from scratch need thousands of updates, fine-tuned ones hundreds
    "frozen_share": 0.999,  # of the parameters; even a linear classifier has more than the rest
    "low_rate": 1e-4,  # a lower learning rate of SGD changes weights too little in a few epochs
    "low_adaptive_rate": 1e-5,  # the same for AdamW and Muon, which scale each update
    # predictions
    "low_recall": 0.3,  # of objects; below it, a detector finds nothing for practical purposes
    "low_ap": 0.2,  # mean average precision on training images; even short trainings exceed it
    "low_accuracy": 0.15,  # of the way from always predicting the most frequent class to no errors
    "stage_loss": 0.5,  # a stage that loses this share of what reached it breaks the chain
    "never_learned": 0.65,  # area under the ROC curve of scores, objects against background; chance is 0.5
    "permuted_objects": 12,  # with fewer predictions, some permutation of the labels always fits
    "permuted_labels": 0.7,  # of localized objects, explained by a permutation of the labels
    "unpermuted_labels": 0.5,  # of these; if more are correct without it, only some classes are confused
    "changed_boxes": 0.5,  # of the objects found by changed boxes; if more are found as they are, it is chance
    "generalization": 0.5,  # recall or accuracy on other images relative to that on training images
    "detected_class": 20,  # a class with this many training objects should be detected at least once
    "examined_objects": 5,  # fewer objects of a class can all be missed by chance
}
"""Every limit of the diagnosis, by link, with its reason."""


def limit(name: str) -> float:
    """Returns the value of a threshold."""
    return THRESHOLDS[name]
