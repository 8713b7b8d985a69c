import dataclasses
import math

import numpy as np
import pytest
from PIL import Image

from tests.rcnn.voc_digits import write_voc
from tfeff import config, selection
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.recipes import annotated_images, labeled_images
from tfeff.recipes.image_set import AnnotatedImages, has_trainval

COUNTS = {"train/ant": 40, "train/bee": 10, "test/ant": 3, "test/bee": 3}


def test_counts_and_sides_of_a_folder(image_folder):
    root = image_folder(COUNTS, size=(12, 16))
    images = labeled_images(config.Data(source=f"folder:{root}", validation_fraction=0.0))
    assert (images.count, images.class_counts, images.side, images.imbalance) == (50, (40, 10), 12, 4.0)
    assert images.elongation == pytest.approx(16 / 12)


@pytest.mark.parametrize(
    "changes",
    [
        {"validation_fraction": 0.2},
        {"validation_split": "test"},
        {"train_examples": 20, "validation_fraction": 0.0},
        {"train_examples": 20, "validation_fraction": 0.1},
        {"folds": 5},
        {"folds": 5, "train_examples": 30},
        {"folds": 5, "fold_train_examples": 12},
        {"folds": 2, "fold_examples": 20, "validation_fraction": 0.2, "fold_train_examples": 8},
        {"folds": 2, "fold_examples": 20, "validation_fraction": 0.2},
        {"folds": 2, "fold_examples": 20, "validation_split": "test"},
    ],
)
def test_only_images_that_are_trained_on_count(image_folder, changes):
    data = dataclasses.replace(config.Data(source=f"folder:{image_folder(COUNTS)}"), **changes)
    settings = config.Experiment(data=data)
    source = catalog.open_labels(data.source)
    assert labeled_images(data).loaded == 50 + 6 * (data.validation_split is not None)
    fold = selection.fold(
        selection.request(settings), source.load("train"), validates=data.validation_split is not None
    )
    trained = len(source.load("train")) if fold is None else len(fold.train)
    assert labeled_images(data).count == trained


def test_images_are_held_out_of_a_split_that_contains_those_to_validate_on(dataset):
    data = config.Data(source=f"voc:{dataset('bccd') / 'BCCD'}", train_split="trainval", validation_fraction=0.15)
    settings = config.Experiment(task=config.YoloSettings(), data=data)
    source = selection.open_source(selection.request(settings))
    fold = selection.fold(selection.request(settings), source.load("trainval"), validates=False)
    images = annotated_images(data)
    assert images.count == len(fold.train) == 248
    assert (images.loaded, images.longest, images.size) == (292, 640, (480, 640))
    assert has_trainval(data)


@pytest.mark.parametrize(("test_split", "count"), [("test", 50), ("val", 40)])
def test_nothing_is_held_out_if_the_source_has_a_split_for_validation(image_folder, test_split, count):
    root = image_folder(COUNTS | {"val/ant": 3, "val/bee": 3})
    data = config.Data(source=f"folder:{root}", validation_fraction=0.2, test_split=test_split)
    wanted = selection.request(config.Experiment(data=data))
    source = selection.open_source(wanted)
    validates = selection.assign(wanted, source).validation is not None
    fold = selection.fold(wanted, source.load("train"), validates=validates)
    images = labeled_images(data)
    assert images.count == (50 if fold is None else len(fold.train)) == count
    assert images.loaded == (56 if validates else 50)


@pytest.mark.slow
def test_photographs_are_drawn_with_all_their_crops(tmp_path):
    write_voc(tmp_path / "voc", {"train": range(10), "test": range(10, 14)})
    data = config.Data(source=f"crops:voc:{tmp_path / 'voc'}", train_examples=5, validation_fraction=0.0)
    crops = catalog.open_labels(data.source).load("train")
    assert labeled_images(data).count == round(len(crops) / 2) > 5


def test_an_error_if_everything_is_held_out(image_folder):
    data = config.Data(source=f"folder:{image_folder(COUNTS)}", validation_fraction=1.0)
    with pytest.raises(UserError, match=r"none of 50 images is left to train on; lower data\.validation_fraction"):
        labeled_images(data)


def test_unreadable_images_are_not_measured(image_folder):
    root = image_folder({"train/ant": 3, "train/bee": 3}, size=(20, 30))
    (root / "train" / "ant" / "000.png").write_bytes(b"no image")
    assert labeled_images(config.Data(source=f"folder:{root}")).side == 20
    for path in root.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"6 of 6 images cannot be read:\n  .*000\.png: not an image"):
        labeled_images(config.Data(source=f"folder:{root}"))


def test_sides_of_a_source_that_knows_them():
    assert labeled_images(config.Data(source="embedded:digits", channels=1)).side == 8


def test_images_are_counted_as_a_run_reads_them(image_folder):
    root = image_folder({"train/ant": 6, "train/bee": 3, "test/wasp": 3})
    data = config.Data(source=f"folder:{root}", validation_fraction=0.0)
    assert labeled_images(data, further_classes=True).class_counts == (6, 3)
    with pytest.raises(UserError, match='class "wasp" is not among the classes'):
        labeled_images(data)
    drawn = config.Data(source=f"folder:{image_folder({'ant': 40, 'bee': 40}, name='drawn')}", groups=r"(\d\d)\d\.png")
    wanted = selection.request(config.Experiment(data=drawn))
    trained = selection.load(wanted, selection.open_source(wanted), "train")
    images = labeled_images(dataclasses.replace(drawn, validation_fraction=0.0))
    assert images.class_counts == tuple(trained.class_counts())
    assert images.count != round(0.8 * 80)


def test_a_single_class(image_folder):
    with pytest.raises(UserError, match='single class, "ant"'):
        labeled_images(config.Data(source=f"folder:{image_folder({'train/ant': 3})}"))


@pytest.mark.slow
def test_images_with_objects(tmp_path):
    write_voc(tmp_path / "voc", {"train": range(10), "test": range(10, 14)})
    data = config.Data(source=f"voc:{tmp_path / 'voc'}", validation_split="test")
    source = catalog.open_objects(data.source).load("train")
    images = annotated_images(data)
    assert (images.count, images.objects) == (10, np.mean([len(objects) for objects in source.objects]))
    held_out = annotated_images(dataclasses.replace(data, validation_split=None, validation_fraction=0.4))
    assert (held_out.count, held_out.objects) == (6, images.objects)
    subset = annotated_images(dataclasses.replace(data, train_examples=5))
    assert (subset.count, subset.objects) == (5, images.objects)
    single = annotated_images(dataclasses.replace(data, train_examples=1))
    assert single.class_images == tuple(min(each, 1) for each in images.class_images)
    assert single.trials(10) > 0
    assert images.most == max(len(objects) for objects in source.objects)
    assert images.class_images == tuple(
        sum(number in objects.labels for objects in source.objects) for number in range(source.num_classes)
    )
    assert (images.side, images.aspects) == (64, (1.0, 1.0, 1.0))
    assert (images.longest, images.size, images.loaded) == (64, (64, 64), 14)


def test_sizes_of_objects_are_relative_to_the_longer_side(tmp_path):
    """As the input's resolution is."""
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.zeros((40, 160, 3), np.uint8)).save(tmp_path / "JPEGImages" / "a.png")
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>32</xmax><ymax>8</ymax>"
    text = f"<annotation><object><name>x</name><bndbox>{corners}</bndbox></object></annotation>"
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    images = annotated_images(config.Data(source=f"voc:{tmp_path}", train_split="all"))
    assert (images.extent, images.loaded) == (pytest.approx(16 / 160), 1)


def test_of_thin_objects_the_shorter_side_counts(tmp_path):
    """8x800 pixels have the area of 80x80."""
    Image.fromarray(np.zeros((1000, 1000, 3), np.uint8)).save(tmp_path / "a.png")
    rows = ["a.png,pole,10,10,18,810", "a.png,pole,100,100,900,108"]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows]))
    images = annotated_images(config.Data(source=f"csv:{tmp_path / 'boxes.csv'}", train_split="all"))
    assert (images.extent, images.elongation) == pytest.approx((16 / 1000, 100))
    assert images.extents == pytest.approx((16 / 1000, 80 / 1000))


def test_classes_count_equally_for_the_extents(tmp_path):
    """Of 12 objects 40 pixels wide, 4 of one class have 1 to 4 pixels: half of the weight."""
    Image.fromarray(np.zeros((40, 100, 3), np.uint8)).save(tmp_path / "a.png")
    rows = [f"a.png,small,0,0,{side},{side}" for side in (1, 2, 3, 4)]
    rows += [f"a.png,large,{left},0,{left + 40},40" for left in range(8)]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows]))
    data = config.Data(source=f"csv:{tmp_path / 'boxes.csv'}", train_split="all", validation_fraction=0.0)
    images = annotated_images(data)
    assert images.extents == pytest.approx((0.01, 0.4))  # 1 px has the lowest eighth, 40 px the upper half
    assert images.extent == pytest.approx(0.4)


def test_the_variance_of_a_mean_over_classes_follows_the_images_that_show_them():
    images = AnnotatedImages(
        100, 100, 3.0, 0.1, (0.1, 0.1), 1.0, (100, 50, 0), 5, 64, (1.0, 1.0, 1.0), 64, (64, 64), 100
    )
    assert images.trials(20) == pytest.approx(2**2 / (1 / 20 + 1 / 10))
    assert images.part(50).class_images == (50, 25, 0)
    assert images.part(1).class_images == (1, 1, 0)
    assert images.part(50).trials(20) == images.trials(20)
    one = AnnotatedImages(100, 100, 3.0, 0.1, (0.1, 0.1), 1.0, (100,), 5, 64, (1.0, 1.0, 1.0), 64, (64, 64), 100)
    assert one.trials(40) == 40  # a single class that all images show: as an accuracy


def test_the_variance_on_blood_cells_is_about_that_of_the_bootstrap():
    """docs/dense_detection.md, necks: mAP 0.814 (0.766 to 0.861) on 87 of the 292 images."""
    cells = AnnotatedImages(
        292, 292, 13.5, 0.186, (0.06, 0.33), 1.1, (162, 280, 290), 30, 640, (4 / 3, 4 / 3, 4 / 3), 640, (480, 640), 292
    )
    half = 1.96 * math.sqrt(0.814 * (1 - 0.814) / cells.trials(87))
    assert half == pytest.approx((0.861 - 0.766) / 2, rel=0.15)


def test_images_without_objects_do_not_lower_the_mean_number_of_objects(tmp_path):
    for name in "abcd":
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / f"{name}.png")
    boxes = [f"a.png,x,{x},0,{x + 4},9" for x in range(0, 50, 10)] + ["b.png,x,4,4,30,30", "c.png,,,,,", "d.png,,,,,"]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *boxes]))
    images = annotated_images(config.Data(source=f"csv:{tmp_path / 'boxes.csv'}", train_split="all"))
    assert (images.count, images.shown, images.objects) == (4, 2, 3.0)
    assert (images.part(2).count, images.part(2).shown) == (2, 1)


def test_images_without_objects(tmp_path):
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation></annotation>")
    with pytest.raises(UserError, match="no objects to train on"):
        annotated_images(config.Data(source=f"voc:{tmp_path}", train_split="all"))
