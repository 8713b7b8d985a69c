from dataclasses import replace

import numpy as np
import pytest

from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tools import convert_annotations

FORMATS = ("voc", "yolo", "coco", "csv")
"""Those that keep the names of images."""


def load(target, out, split):
    """Returns a converted split, as its format is read."""
    path = out / "all.csv" if (target, split) == ("csv", "all") else out
    return catalog.open_objects(f"{target}:{path}").load(split)


def by_name(source):
    """Maps each image's stem to its encoded bytes, the class names of its objects, and the objects."""
    rows = {}
    for index, name in enumerate(source.ids):
        objects = source.objects[index]
        stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        classes = [source.class_names[label] for label in objects.labels]
        rows[stem] = (source.encoded(index), classes, objects)
    return rows


@pytest.fixture(scope="module")
def digits():
    return catalog.open_objects("embedded:placed_digits:64").load("test").take(np.arange(30))


@pytest.mark.slow
@pytest.mark.parametrize("second", FORMATS)
@pytest.mark.parametrize("first", FORMATS)
def test_two_conversions_keep_whole_pixel_boxes(digits, tmp_path, first, second):
    source = digits
    for step, target in enumerate((first, second)):
        assert not convert_annotations.convert(source, "train", target, tmp_path / str(step))
        source = load(target, tmp_path / str(step), "train")
        assert not source.defects.counts
    assert source.class_names == digits.class_names
    result = by_name(source)
    assert len(result) == 30
    for index, name in enumerate(digits.ids):
        encoded, classes, objects = result[name]
        assert encoded == digits.encoded(index)
        assert classes == [str(label) for label in digits.objects[index].labels]
        np.testing.assert_allclose(objects.boxes_yxyx, digits.objects[index].boxes_yxyx, atol=1e-3)


@pytest.mark.parametrize("target", FORMATS)
def test_fractional_boxes_change_by_rounding_only(dataset, tmp_path, target):
    source = catalog.open_objects(f"yolo:{dataset('coco128')}").load("all")
    convert_annotations.convert(source, "all", target, tmp_path)
    converted = load(target, tmp_path, "all")
    before, after = by_name(source), by_name(converted)
    assert before.keys() == after.keys()
    for name, (encoded, classes, objects) in before.items():
        assert after[name][0] == encoded
        assert after[name][1] == classes
        tolerance = 1.51 if target == "voc" else 1e-3  # boxes thinner than two pixels are widened to two
        np.testing.assert_allclose(after[name][2].boxes_yxyx, objects.boxes_yxyx, atol=tolerance)
        np.testing.assert_allclose(
            np.median(np.abs(after[name][2].boxes_yxyx - objects.boxes_yxyx)) if len(objects) else 0, 0, atol=0.51
        )


def test_round_trips_keep_real_voc_boxes(dataset, tmp_path):
    source = catalog.open_objects(f"voc:{dataset('bccd') / 'BCCD'}").load("test")
    for targets in (("voc",), ("yolo", "voc"), ("coco", "voc")):
        converted = source
        for step, target in enumerate(targets):
            out = tmp_path / "-".join(targets) / str(step)
            convert_annotations.convert(converted, "test", target, out)
            converted = load(target, out, "test")
        before, after = by_name(source), by_name(converted)
        for name, (_, classes, objects) in before.items():
            np.testing.assert_array_equal(after[name][2].boxes_yxyx, objects.boxes_yxyx)
            assert after[name][1] == classes


def test_attributes_that_a_format_lacks_are_counted(digits, tmp_path):
    objects = digits.objects[0]
    flags = np.arange(len(objects)) == 0
    marked = type(objects)(objects.boxes_yxyx, objects.labels, flags, flags)
    source = digits.take(np.array([0]))
    source.objects[0] = marked
    dropped = {
        target: dict(convert_annotations.convert(source, "train", target, tmp_path / target)) for target in FORMATS
    }
    both = {"crowd": 1, "difficult": 1}
    assert dropped == {"voc": {"crowd": 1}, "yolo": both, "coco": {"difficult": 1}, "csv": both}
    loaded = {target: load(target, tmp_path / target, "train").objects[0] for target in FORMATS}
    assert loaded["voc"].difficult.tolist() == flags.tolist()
    assert loaded["coco"].crowd.tolist() == flags.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "all"])
def test_a_hugging_face_dataset_keeps_everything_but_names(tmp_path, split):
    source = catalog.open_objects("embedded:placed_digits:64").load("test").take(np.arange(120))
    first = source.objects[0]
    flags = np.arange(len(first)) == 0
    source.objects[0] = type(first)(first.boxes_yxyx, first.labels, flags, ~flags)
    assert not convert_annotations.convert(source, split, "hf", tmp_path)
    result = load("hf", tmp_path, split)
    assert result.ids == [f"{split}[{index}]" for index in range(120)]
    assert result.class_names == source.class_names
    assert not result.defects.counts
    for index in (0, 99, 100, 119):
        assert result.encoded(index) == source.encoded(index)
    for before, after in zip(source.objects, result.objects, strict=True):
        np.testing.assert_allclose(after.boxes_yxyx, before.boxes_yxyx, atol=1e-4)
        for key in ("labels", "difficult", "crowd"):
            np.testing.assert_array_equal(getattr(after, key), getattr(before, key))


def test_thin_boxes_keep_an_area_in_voc():
    for low, high in ((3, 4), (0, 1), (9, 10), (0, 0.3), (9.8, 10), (4.4, 5.2)):
        first, last = convert_annotations._pixel_span(low, high, 10)
        assert 1 <= first < last <= 10
        assert first - 1 <= high
        assert last >= low
    assert convert_annotations._pixel_span(0, 10, 10) == (1, 10)


def test_duplicate_file_names(digits, tmp_path):
    source = digits.take(np.arange(2))
    source.ids[:] = ["a/b.png", "c/a_b.jpg"]
    convert_annotations.convert(source, "train", "voc", tmp_path)
    assert sorted(path.name for path in (tmp_path / "JPEGImages").iterdir()) == ["a_b.png", "b.png"]
    for names, message in (
        (["a/b.png", "a_b.jpg", "c/b"], "would get the name a_b"),
        (["b", "x", "y"], "other content"),
    ):
        source = digits.take(np.arange(1, 4))
        source.ids[:] = names
        with pytest.raises(UserError, match=message):
            convert_annotations.convert(source, "train", "voc", tmp_path)


def test_annotations_of_another_image_of_this_name_are_not_overwritten(digits, tmp_path):
    first, second = (replace(digits.take(np.arange(1) + index), ids=("a.png",)) for index in (0, 1))
    convert_annotations.convert(first, "train", "voc", tmp_path)
    before = (tmp_path / "Annotations" / "a.xml").read_bytes()
    with pytest.raises(UserError, match=r"JPEGImages/a.png already exists with other content"):
        convert_annotations.convert(second, "test", "voc", tmp_path)
    assert (tmp_path / "Annotations" / "a.xml").read_bytes() == before
