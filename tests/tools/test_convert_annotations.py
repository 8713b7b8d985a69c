import numpy as np
import pytest

from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tools import convert_annotations

FORMS = ("voc", "yolo", "coco")


def by_name(source):
    """Image -> its bytes and its objects as (class, difficult, crowd) and boxes, whatever their order among others."""
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


@pytest.mark.parametrize("second", FORMS)
@pytest.mark.parametrize("first", FORMS)
def test_whole_pixels_survive_any_way_round(digits, tmp_path, first, second):
    for place, form in enumerate((first, second)):
        source = digits if not place else source  # noqa: F821
        assert not convert_annotations.convert(source, "train", form, tmp_path / str(place))
        source = catalog.open_objects(f"{form}:{tmp_path / str(place)}").load("train")
        assert not source.defects.counts
    assert source.class_names == digits.class_names
    result = by_name(source)
    assert len(result) == 30
    for index, name in enumerate(digits.ids):
        encoded, classes, objects = result[name]
        assert encoded == digits.encoded(index)
        assert classes == [str(label) for label in digits.objects[index].labels]
        np.testing.assert_allclose(objects.boxes_yxyx, digits.objects[index].boxes_yxyx, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_fractions_survive_to_rounding(dataset, tmp_path, form):
    source = catalog.open_objects(f"yolo:{dataset('coco128')}").load("all")
    convert_annotations.convert(source, "all", form, tmp_path)
    back = catalog.open_objects(f"{form}:{tmp_path}").load("all")
    before, after = by_name(source), by_name(back)
    assert before.keys() == after.keys()
    for name, (encoded, classes, objects) in before.items():
        assert after[name][0] == encoded
        assert after[name][1] == classes
        away = 1.51 if form == "voc" else 1e-3  # a box thinner than two pixels grows to two of them
        np.testing.assert_allclose(after[name][2].boxes_yxyx, objects.boxes_yxyx, atol=away)
        np.testing.assert_allclose(
            np.median(np.abs(after[name][2].boxes_yxyx - objects.boxes_yxyx)) if len(objects) else 0, 0, atol=0.51
        )


def test_real_voc_boxes_return_as_they_were(dataset, tmp_path):
    source = catalog.open_objects(f"voc:{dataset('bccd') / 'BCCD'}").load("test")
    for way in (("voc",), ("yolo", "voc"), ("coco", "voc")):
        last = source
        for place, form in enumerate(way):
            out = tmp_path / "-".join(way) / str(place)
            convert_annotations.convert(last, "test", form, out)
            last = catalog.open_objects(f"{form}:{out}").load("test")
        before, after = by_name(source), by_name(last)
        for name, (_, classes, objects) in before.items():
            np.testing.assert_array_equal(after[name][2].boxes_yxyx, objects.boxes_yxyx)
            assert after[name][1] == classes


def test_what_a_form_cannot_say_is_counted(digits, tmp_path):
    objects = digits.objects[0]
    flags = np.arange(len(objects)) == 0
    marked = type(objects)(objects.boxes_yxyx, objects.labels, flags, flags)
    source = digits.take(np.array([0]))
    source.objects[0] = marked
    lost = {form: dict(convert_annotations.convert(source, "train", form, tmp_path / form)) for form in FORMS}
    assert lost == {"voc": {"crowd": 1}, "yolo": {"crowd": 1, "difficult": 1}, "coco": {"difficult": 1}}
    loaded = {form: catalog.open_objects(f"{form}:{tmp_path / form}").load("train").objects[0] for form in FORMS}
    assert loaded["voc"].difficult.tolist() == flags.tolist()
    assert loaded["coco"].crowd.tolist() == flags.tolist()


def test_thin_boxes_keep_an_area_in_voc():
    for low, high in ((3, 4), (0, 1), (9, 10), (0, 0.3), (9.8, 10), (4.4, 5.2)):
        first, last = convert_annotations._whole(low, high, 10)
        assert 1 <= first < last <= 10
        assert first - 1 <= high
        assert last >= low
    assert convert_annotations._whole(0, 10, 10) == (1, 10)


def test_names_that_would_meet(digits, tmp_path):
    source = digits.take(np.arange(2))
    source.ids[:] = ["a/b.png", "c/a_b.jpg"]
    convert_annotations.convert(source, "train", "voc", tmp_path)
    assert sorted(path.name for path in (tmp_path / "JPEGImages").iterdir()) == ["a_b.png", "b.png"]
    for names, message in ((["a/b.png", "a_b.jpg", "c/b"], "would be called a_b"), (["b", "x", "y"], "another image")):
        source = digits.take(np.arange(1, 4))
        source.ids[:] = names
        with pytest.raises(UserError, match=message):
            convert_annotations.convert(source, "train", "voc", tmp_path)
