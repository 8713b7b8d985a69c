"""Data sets with one fault each: it is the first broken link. Data sets without a fault: nothing is broken."""

import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.analysis.diagnosis.drawn_objects import (
    NAMES,
    Drawing,
    Object,
    drawings,
    everywhere,
    write_coco,
    write_voc,
    write_yolo,
)
from tests.thoroughness import thorough
from tfeff import config
from tfeff.analysis import diagnosis
from tfeff.analysis.diagnosis import chain, preparation
from tfeff.analysis.quality import Survey, examine, survey
from tfeff.data.dataset import Dataset, Objects, evenly_spaced
from tfeff.data.images.storage import PixelArray
from tfeff.errors import UserError

Splits = dict[str, list[Drawing]]
Write = Callable[[Path, Splits], str]


def pictures(size: tuple[int, int] = (96, 128)) -> Splits:
    return {"train": drawings(36, 1, size=size), "val": drawings(16, 2, size=size)}


def examined(name: str, *overrides: str) -> diagnosis.Diagnosis:
    """The links of the dataset."""
    subject = diagnosis.open_dataset(name, overrides)
    quality = examine({role: survey(each, 1000) for role, each in subject.splits.items()})
    return diagnosis.Diagnosis(subject=name, links=chain.examine_images(subject, quality))


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_voc, write_yolo, write_coco])
def test_nothing_is_wrong_with_healthy_data(write: Write, tmp_path: Path) -> None:
    found = examined(write(tmp_path, pictures()))
    assert found.broken == []
    assert [link.name for link in found.links] == ["images", "quality", "boxes", "classes", "objects", "splits"]


def test_sizes_that_are_only_stated_in_swapped_order_are_a_note(tmp_path: Path) -> None:
    name = write_voc(tmp_path, pictures())
    for path in (tmp_path / "Annotations").iterdir():
        text = path.read_text().replace(
            "<height>96</height><width>128</width>", "<height>128</height><width>96</width>"
        )
        path.write_text(text)
    found = examined(name)
    assert found.broken == []
    assert any("in swapped order" in note.what for link in found.links for note in link.notes)


def test_boxes_and_objects_of_tiles_are_those_of_whole_images(tmp_path: Path) -> None:
    """Most tiles are empty; what is wrong with a box does not show in them."""
    splits = {split: drawings(12, seed, size=(256, 256), objects=1) for split, seed in (("train", 1), ("val", 2))}
    name = write_voc(tmp_path, splits)
    tiled = "data.tile=64", "task.name=yolo", "model.resolution=64"
    healthy = {link.name: link for link in examined(name, *tiled).links}
    assert [healthy[name].status for name in ("boxes", "classes", "objects")] == ["fine"] * 3
    assert healthy["objects"].measured["examples"] == {"train": 12, "validation": 12}
    write_voc(
        tmp_path, everywhere(splits, lambda each: each.boxes(lambda box: tuple(box + np.array([3000, 0, 3000, 0]))))
    )
    broken = {link.name: link for link in examined(name, *tiled).links}
    assert any("lie outside their images" in fault.what for fault in broken["boxes"].faults)


def in_voc(change: Callable[[Drawing], Drawing], size: tuple[int, int] = (96, 128)) -> Write:
    return lambda root, _: write_voc(root, everywhere(pictures(size), change))


def boxes(change: Callable[[np.ndarray], object], size: tuple[int, int] = (96, 128)) -> Write:
    return in_voc(lambda drawing: drawing.boxes(lambda box: tuple(np.asarray(change(box), float).tolist())), size)


def sides(box: np.ndarray) -> tuple[float, ...]:
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def middle(box: np.ndarray) -> tuple[float, ...]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def relative(drawing: Drawing) -> Drawing:
    height, width = drawing.size
    return drawing.boxes(lambda box: tuple(box / (width, height, width, height)))


def sides_in_csv(root: Path, splits: Splits) -> str:
    """A file without a header, whose columns are x, y, width, height instead of corners."""
    rows = list[str]()
    for drawing in splits["train"]:
        Image.fromarray(drawing.image).save(root / f"{drawing.name}.png")
        for item in drawing.objects:
            numbers = ",".join(f"{side:g}" for side in sides(np.array(item.box)))
            rows.append(f"{drawing.name}.png,{numbers},{NAMES[item.label]}")
    (root / "boxes.csv").write_text("\n".join(rows))
    return f"csv:{root / 'boxes.csv'}"


def unreadable(root: Path, splits: Splits) -> str:
    name = write_voc(root, splits)
    for path in sorted((root / "JPEGImages").iterdir())[::6]:
        path.write_bytes(path.read_bytes()[:300])
    return name


def no_image_left(root: Path, splits: Splits) -> str:
    """No image file of the validation split can be read."""
    name = write_voc(root, splits)
    for drawing in splits["val"]:
        (root / "JPEGImages" / f"{drawing.name}.png").write_bytes(b"no image")
    return name


def blank(root: Path, splits: Splits) -> str:
    name = write_voc(root, splits)
    for path in sorted((root / "JPEGImages").iterdir())[::6]:
        Image.new("RGB", (128, 96), (255, 255, 255)).save(path)
    return name


def resized_afterwards(root: Path, splits: Splits) -> str:
    """The images are halved, the annotations are not; they do not state their size."""
    name = write_yolo(root, splits)
    shutil.rmtree(root)
    name = write_coco(root, splits)
    for path in root.glob("*/*.png"):
        image = Image.open(path)
        image.resize((image.width // 2, image.height // 2)).save(path)
    return name


def enlarged_afterwards(root: Path, splits: Splits) -> str:
    """Pixel boxes of small images, on large ones, with a size in the annotations that was updated."""
    name = write_voc(root, everywhere(splits, lambda each: each.boxes(lambda box: tuple(box * 0.45))))
    return name


def shuffled(root: Path, splits: Splits) -> str:
    """Each image has the annotation of the next one."""
    many = {"train": drawings(80, 1)}
    part = many["train"]
    moved = [Drawing(one.name, one.image, other.objects) for one, other in zip(part, [*part[1:], part[0]], strict=True)]
    return write_voc(root, {"train": moved})


def one_sided(root: Path, splits: Splits) -> str:
    """Only the validation split is wrong."""
    wrong = [each.boxes(lambda box: (box[1], box[0], box[3], box[2])) for each in splits["val"] + drawings(16, 3)]
    return write_voc(root, {"train": splits["train"], "val": wrong})


def angles(root: Path, splits: Splits) -> str:
    name = write_yolo(root, splits)
    for path in root.glob("labels/*/*.txt"):
        path.write_text("".join(f"{line} 45\n" for line in path.read_text().splitlines()))
    return name


def without_labels(root: Path, splits: Splits) -> str:
    name = write_yolo(root, splits)
    for path in sorted(root.glob("labels/train/*.txt"))[:28]:
        path.rename(path.with_name(f"label_{path.name}"))
    return name


def sorted_by_class(root: Path, splits: Splits) -> str:
    every = drawings(80, 4, objects=1)
    stars = [each for each in every if each.objects[0].label == 1]
    return write_voc(root, {"train": [each for each in every if each not in stars], "val": stars})


def copied(root: Path, splits: Splits) -> str:
    again = [Drawing(f"copy_{each.name}", each.image, each.objects) for each in splits["train"][:8]]
    return write_voc(root, splits | {"val": splits["val"] + again})


def only_in_validation(change: Callable[[int], int]) -> Write:
    def write(root: Path, splits: Splits) -> str:
        more = splits["val"] + drawings(30, 5)
        return write_yolo(root, splits | {"val": [each.labels(change) for each in more]})

    return write


def in_yolo(change: Callable[[Drawing], Drawing], names: tuple[str, ...] = NAMES, *, convert: bool = False) -> Write:
    return lambda root, splits: write_yolo(root, everywhere(splits, change), names, convert=convert)


def reordered(root: Path, splits: Splits) -> str:
    """center y, center x, height, width instead of x first."""

    def swapped(drawing: Drawing) -> Drawing:
        return relative(drawing).boxes(lambda box: tuple(np.array(middle(box))[[1, 0, 3, 2]]))

    return write_yolo(root, everywhere(splits, swapped), convert=False)


def half_converted(root: Path, splits: Splits) -> str:
    """A third of the annotations was exported in another format."""
    return write_voc(
        root,
        {
            split: [each.boxes(sides) if i % 3 == 0 else each for i, each in enumerate(part)]
            for split, part in splits.items()
        },
    )


def upright_annotations(root: Path, splits: Splits) -> str:
    """As `turned`, of images that are not square."""

    def upright(drawing: Drawing) -> Drawing:
        height = drawing.size[0]
        return drawing.boxes(lambda box: (height - box[3], box[0], height - box[1], box[2]))

    return write_voc(root, everywhere(splits, upright))


def other_categories(root: Path, splits: Splits) -> str:
    name = write_coco(root, splits)
    path = root / "annotations" / "instances_val.json"
    path.write_text(path.read_text().replace('"star"', '"stars"'))
    return name


def turned(root: Path, splits: Splits) -> str:
    """An EXIF orientation turns the images, but boxes were drawn on the stored ones; sizes do not tell, as it is
    square."""
    name = write_voc(root, everywhere({"train": drawings(40, 1, size=(96, 96))}, lambda drawing: drawing))
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in sorted((root / "JPEGImages").iterdir()):
        Image.open(path).save(path, exif=exif)
    return name


def respelled(root: Path, splits: Splits) -> str:
    name = write_voc(root, splits)
    for path in sorted((root / "Annotations").iterdir())[::3]:
        path.write_text(path.read_text().replace("<name>disk", "<name>Disk "))
    return name


def partly_sideways(root: Path, splits: Splits) -> str:
    """Every fifth image was saved again without its EXIF orientation; the annotations state the upright size."""
    name = write_voc(root, splits)
    for path in sorted((root / "JPEGImages").iterdir())[::5]:
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    return name


def divided_by_the_other_side(root: Path, splits: Splits) -> str:
    def wrong(drawing: Drawing) -> Drawing:
        height, width = drawing.size
        return drawing.boxes(lambda box: tuple(np.array(middle(box)) / (height, width, height, width)))

    return write_yolo(root, everywhere(splits, wrong), convert=False)


def partly_swapped(root: Path, splits: Splits) -> str:
    """In a third of the images, the names of small and large objects are swapped."""
    every = drawings(90, 1, side=(8, 40))

    def named(drawing: Drawing, swap: bool) -> Drawing:
        small = [(o.box[2] - o.box[0]) * (o.box[3] - o.box[1]) < 500 for o in drawing.objects]
        objects = [Object(o.box, int(each != swap)) for o, each in zip(drawing.objects, small, strict=True)]
        return Drawing(drawing.name, drawing.image, tuple(objects))

    return write_voc(root, {"train": [named(each, 30 <= index < 60) for index, each in enumerate(every)]})


def partly_labeled(root: Path, splits: Splits) -> str:
    """Nobody labeled disks in the last third of the images."""
    every = drawings(90, 1, objects=8)
    late = [Drawing(each.name, each.image, tuple(o for o in each.objects if o.label)) for each in every[60:]]
    return write_voc(root, {"train": every[:60] + late})


def padded(root: Path, splits: Splits) -> str:
    """Bars above and below make the images square; the boxes were stretched instead."""

    def square(drawing: Drawing) -> Drawing:
        height, width = drawing.size
        image = np.full((width, width, 3), 114, np.uint8)
        image[(width - height) // 2 : (width + height) // 2] = drawing.image
        stretched = drawing.boxes(lambda box: tuple(box * (1, width / height, 1, width / height)))
        return Drawing(drawing.name, image, stretched.objects)

    return write_voc(root, everywhere(splits, square))


def numbered_separately(root: Path, splits: Splits) -> str:
    """The labels of two images are missing, and images and labels were then numbered each on their own."""
    every = drawings(90, 1)
    labeled = [each.objects for index, each in enumerate(every) if index not in (25, 50)]
    return write_yolo(
        root,
        {
            "train": [
                Drawing(each.name, each.image, objects) for each, objects in zip(every, [*labeled, (), ()], strict=True)
            ]
        },
    )


FAULTS: dict[str, tuple[Write, str, tuple[str, ...]]] = {
    "x, y, width, height in VOC": (boxes(sides), "boxes", ("written as xmin, ymin, width, height, in pixels",)),
    "center, width, height in VOC": (boxes(middle), "boxes", ("written as center x, center y, width, height",)),
    "x and y swapped": (boxes(lambda box: box[[1, 0, 3, 2]]), "boxes", ("written as ymin, xmin, ymax, xmax",)),
    "x and y swapped in square images": (
        boxes(lambda box: box[[1, 0, 3, 2]], (96, 96)),
        "boxes",
        ("x and y",),
    ),
    "x, y, width, height in CSV": (
        sides_in_csv,
        "boxes",
        ("the boxes are written as xmin, ymin, width, height", "read as xmin, ymin, xmax, ymax, in pixels"),
    ),
    "y from the bottom": (
        in_voc(lambda each: each.boxes(lambda b: (b[0], each.size[0] - b[3], b[2], each.size[0] - b[1]))),
        "boxes",
        ("upside down",),
    ),
    "thousandths in VOC": (
        in_voc(lambda each: relative(each).boxes(lambda box: tuple(box * 1000))),
        "boxes",
        ("thousandths",),
    ),
    "pixels in YOLO": (
        in_yolo(lambda each: each.boxes(middle)),
        "boxes",
        ("center x, center y, width, height, in pixels",),
    ),
    "corners in YOLO": (in_yolo(relative), "boxes", ("xmin, ymin, xmax, ymax, relative",)),
    "top left and sides in YOLO": (in_yolo(lambda each: relative(each).boxes(sides)), "boxes", ("xmin, ymin, width",)),
    "y first in YOLO": (reordered, "boxes", ("center y, center x, height, width, relative",)),
    "corners in COCO": (
        lambda root, splits: write_coco(root, splits, convert=False),
        "boxes",
        ("written as xmin, ymin, xmax, ymax, in pixels",),
    ),
    "images resized after annotation": (resized_afterwards, "boxes", ("size in the annotations",)),
    "boxes of smaller images": (enlarged_afterwards, "boxes", ("top left",)),
    "images stored sideways": (turned, "boxes", ("rotated",)),
    "some annotations in another format": (
        half_converted,
        "boxes",
        ("in 11 of 36 images", "the boxes are written as xmin, ymin, width"),
    ),
    "images stored sideways, not square": (upright_annotations, "boxes", ("rotated by 90 degrees clockwise",)),
    "annotations of other images": (shuffled, "boxes", ("the boxes of the image 1 before it",)),
    "images padded, boxes stretched": (padded, "boxes", ("reach: the images were padded",)),
    "images and labels numbered separately": (numbered_separately, "boxes", ("fit each image better than its own",)),
    "some images sideways": (partly_sideways, "boxes", ("are stored sideways", "degrees clockwise")),
    "x divided by the height": (divided_by_the_other_side, "boxes", ("x was divided by the height",)),
    "two classes swapped in some images": (partly_swapped, "classes", ("are swapped in", "consecutive images")),
    "boxes without area": (
        in_voc(lambda each: each.boxes(lambda box: (*box[:2], *(box[:2] if box[0] % 3 == 0 else box[2:])))),
        "boxes",
        ("no area",),
    ),
    "validation swaps x and y": (one_sided, "boxes", ("validation: the boxes",)),
    "placeholders": (boxes(lambda box: (0, 0, 128, 96)), "boxes", ("cover their whole image",)),
    "objects twice": (
        in_voc(lambda each: Drawing(each.name, each.image, each.objects + each.objects[:1])),
        "boxes",
        ("listed twice",),
    ),
    "boxes of two classes": (
        in_voc(
            lambda each: Drawing(each.name, each.image, each.objects + each.labels(lambda old: 1 - old % 2).objects[:1])
        ),
        "boxes",
        ("the box of an object of another class",),
    ),
    "angles in YOLO": (angles, "boxes", ("invalid line",)),
    "labels from 1 in YOLO": (
        in_yolo(lambda each: each.labels(lambda label: label + 1), convert=True),
        "classes",
        ("off by one", "disk, never occurs"),
    ),
    "labels from 1 in one split": (
        only_in_validation(lambda label: label + 1),
        "classes",
        ("validation: labels are off by one",),
    ),
    "categories from 0 in COCO": (
        lambda root, splits: write_coco(root, splits, first=0),
        "classes",
        ("off by one", "disk, never occurs"),
    ),
    "labels rotated in one split": (
        only_in_validation(lambda label: (label + 1) % 3),
        "classes",
        ("validation: labels are off by one: the frequencies",),
    ),
    "class lists that differ": (other_categories, "classes", ("validation: its class list differs",)),
    "a background class": (
        in_yolo(lambda each: each.labels(lambda label: label + 1), ("background", *NAMES), convert=True),
        "classes",
        ("background",),
    ),
    "a list of other classes": (
        in_yolo(lambda each: each, (*NAMES, "car", "dog", "cat", "bus"), convert=True),
        "classes",
        ("never occur",),
    ),
    "two spellings": (
        respelled,
        "classes",
        ("two spellings",),
    ),
    "a class not labeled in some images": (partly_labeled, "objects", ("no disk is labeled in",)),
    "missing label files": (without_labels, "objects", ("have no objects",)),
    "splits by class": (sorted_by_class, "objects", ("occur in validation but never in train: frame",)),
    "training images in validation": (copied, "splits", ("also in train",)),
    "unreadable images": (unreadable, "images", ("cannot be read",)),
    "no image left in a split": (no_image_left, "images", ("validation: no image is left",)),
    "blank images": (blank, "images", ("blank",)),
}


ALWAYS = (
    "x, y, width, height in CSV",
    "x, y, width, height in VOC",
    "x and y swapped in square images",
    "thousandths in VOC",
    "corners in YOLO",
    "images resized after annotation",
    "boxes without area",
    "labels from 1 in YOLO",
    "a background class",
    "splits by class",
    "training images in validation",
    "unreadable images",
    "no image left in a split",
    "missing label files",
)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*ALWAYS, *(thorough(fault) for fault in FAULTS if fault not in ALWAYS)])
def test_a_fault_is_the_first_broken_link(fault: str, tmp_path: Path) -> None:
    write, link, words = FAULTS[fault]
    found = examined(write(tmp_path, pictures()))
    assert [each.name for each in found.broken][:1] == [link], found.to_text()
    first = found.broken[0].faults[0]
    for word in words:
        assert word in first.sentence, found.to_text()
    assert first.fix
    assert f"First broken link: {link}" in found.to_text()


def test_defects_that_no_link_explains_are_notes(tmp_path: Path) -> None:
    name = write_voc(tmp_path, pictures())
    path = min((tmp_path / "Annotations").iterdir())
    text = path.read_text()
    path.write_text(re.sub(r"<xmin>(\d+)[^<]*</xmin>", r"<xmin>\1,0</xmin>", text, count=1))
    (link, *_) = examined(name).links
    assert [note.what for note in link.notes] == ["1 x decimal comma."]
    assert str(path) in link.notes[0].evidence[0]


def test_dropped_objects_break_the_preparation_and_are_json(tmp_path: Path) -> None:
    subject = diagnosis.open_dataset(write_voc(tmp_path, pictures()), ["task.max_objects=1", "model.resolution=64"])
    train = survey(subject.train, 1000)
    link = preparation.check_preparation(subject, preparation.prepare(subject, train), train)
    (finding,) = (each for each in link.findings if "task.max_objects=1" in each.what)
    assert json.loads(json.dumps(finding.to_dict()))["broken"] is True


@pytest.mark.slow
def test_the_images_of_localizers_are_prepared(tmp_path: Path) -> None:
    subject = diagnosis.open_dataset(
        "embedded:single_digits:48", (), config.load("digits_localization", config.Experiment)
    )
    prepared = preparation.prepare(subject, survey(subject.train, 1000))
    assert prepared.survived is None
    assert preparation.check_preparation(subject, prepared, survey(subject.train, 10)).status == "fine"


def test_an_embedder_may_be_tested_on_other_classes(image_folder: Callable, tmp_path: Path) -> None:
    root = image_folder({"train/ann": 6, "train/bob": 6, "val/eve": 4, "test/zoe": 4})
    found = examined(f"folder:{root}", "task.name=embedding")
    assert next(each for each in found.links if each.name == "classes").status == "fine"


@pytest.mark.slow
def test_objects_that_mosaics_drop_are_lost(tmp_path: Path) -> None:
    name = write_voc(tmp_path, pictures())
    most = max(map(len, diagnosis.open_dataset(name, ()).train.objects))
    for changes, lost in ((), False), (("task.augmentation.mosaic=1",), True):
        subject = diagnosis.open_dataset(name, [f"task.max_objects={most}", "model.resolution=64", *changes])
        prepared = preparation.prepare(subject, survey(subject.train, 1000))
        link = preparation.check_preparation(subject, prepared, survey(subject.train, 1000))
        found = [each for each in link.findings if "augmentation joins" in each.what]
        assert len(found) == lost == (prepared.dropped > 0) == (prepared.most > most)
    assert found[0].fix is not None
    assert found[0].fix.startswith(f"set task.max_objects={prepared.most}")


def test_every_copy_in_another_split_counts(tmp_path: Path) -> None:
    splits = {"train": drawings(20, 1), "val": drawings(20, 2)}
    name = write_voc(tmp_path, splits)
    for path in [tmp_path / "JPEGImages" / f"{each.name}.png" for each in splits["val"][:9]]:
        path.write_bytes((tmp_path / "JPEGImages" / f"{splits['train'][3].name}.png").read_bytes())
    link = examined(name).links[-1]
    assert link.faults[0].what == "9 of 20 images of validation (45.0 %) are also in train: the same bytes."


def test_samples_of_12_bits_in_16_are_nearly_black(tmp_path: Path) -> None:
    name = write_voc(tmp_path, pictures())
    for path in (tmp_path / "JPEGImages").iterdir():
        gray = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
        gray[0, 0] = 4095
        Image.fromarray(gray).save(path)
    (link, *_) = examined(name).links
    (fault,) = link.faults
    assert fault.what == "all images are nearly black: the brightest of their pixels is 15 of 255."
    assert "multiply them by 16" in fault.fix


def test_samples_of_8_bits_in_16_are_black(tmp_path: Path) -> None:
    name = write_voc(tmp_path, pictures())
    for path in (tmp_path / "JPEGImages").iterdir():
        Image.fromarray(np.asarray(Image.open(path).convert("L")).astype(np.uint16)).save(path)
    (link, *_) = examined(name).links
    (fault,) = link.faults
    assert fault.what == "all images are nearly black: the brightest of their pixels is 0 of 255."
    assert "by 256" in fault.fix


def test_a_corrupt_image_may_be_the_only_one_of_its_class_in_a_sample(image_folder: Callable) -> None:
    root = image_folder({f"train/{label:02}": 2 for label in range(70)})
    paths = sorted(root.rglob("*.png"))
    paths[evenly_spaced(140, preparation.IMAGES)[20]].write_bytes(b"no image")
    subject = diagnosis.open_dataset(f"folder:{root}", ["model.resolution=16"])
    readable = survey(subject.train, 1000)
    assert len(readable) == 139
    assert sum(map(len, (each["index"] for each in preparation.prepare(subject, readable).batches))) == 64
    for count in (64, 139):
        images = preparation.cached(subject.plan.images, readable, count)
        assert len(images) == count
        labels = [Path(name).parent.name for name in images.dataset.ids]
        assert [images.dataset.class_names[label] for label in images.dataset.labels] == labels
    for path in paths:
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 140 examined images can be read"):
        preparation.prepare(subject, survey(subject.train, 1000))


@pytest.mark.parametrize(("count", "expected"), [(4, 2), (5, 3), (12, 3), (99, 3)])
def test_samples_of_images_most_of_which_show_nothing_have_those_with_objects(count: int, expected: int) -> None:
    boxes, unset = np.array([[0, 0, 4, 4]], np.float32), np.zeros(1, bool)
    one = Objects(boxes, np.zeros(1, np.int32), unset, unset)
    shows = {7, 8, 30}
    images = Dataset(
        "pets",
        ("cat",),
        [str(index) for index in range(40)],
        PixelArray(np.zeros((40, 8, 8, 3), np.uint8), ""),
        objects=[one if index in shows else one.take(np.zeros(0, np.int64)) for index in range(40)],
        sizes=np.full((40, 2), 8, np.int32),
    )
    readable = Survey(images, 40, [index for index in range(40) if index != 5])
    found = preparation._sample(readable, count).tolist()
    assert found == sorted(set(found) - {5})
    assert len(found) == min(count, 39)
    assert len(shows & set(found)) == expected


def test_readable_images_are_not_decoded_to_find_corrupt_ones(
    image_folder: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = diagnosis.open_dataset(f"folder:{image_folder({'train/a': 5, 'train/b': 5})}", ["model.resolution=16"])
    monkeypatch.setattr(preparation, "KEPT", 9)
    readable, read = survey(subject.train, 1000), list[int]()
    monkeypatch.setattr(type(subject.train.images), "encoded", lambda _, index: read.append(index))
    assert len(preparation.cached(subject.plan.images, readable, 10)) == 10
    assert not read


@pytest.mark.slow
def test_statistics_of_the_input_take_the_memory_of_a_batch(tmp_path: Path) -> None:
    """Images that are normalized by their own statistics have a mean of 0 and a standard deviation of 1."""
    name = write_voc(tmp_path, {"train": drawings(64, 1, size=(256, 256)), "val": drawings(2, 2)})
    subject = diagnosis.open_dataset(name, ["model.resolution=256", "data.normalization=dataset"])
    train = survey(subject.train, 1000)
    tracemalloc.start()
    try:
        prepared = preparation.prepare(subject, train)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert prepared.mean == pytest.approx(0, abs=1e-5)
    assert prepared.std == pytest.approx(1, abs=1e-5)
    assert peak < 16 * 8 * 256 * 256 * 3  # 16 images as float64
