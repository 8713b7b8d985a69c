import pytest

from tests.verbs import ROOT
from tfeff.data.sources import catalog
from tfeff.errors import UserError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "no scheme; write one of embedded:<name>, folder:<directory>"),
        ("embedded:", "no scheme"),
        ("embeded:digits", 'did you mean "embedded"'),
        ("embedded:digit", 'did you mean "digits"'),
        ("folder:/no/such/folder", "/no/such/folder does not exist"),
        ("voc:/some/folder", "does not have a label per image"),
    ],
)
def test_invalid_names_of_labeled_images(name, message):
    with pytest.raises(UserError, match=message):
        catalog.open_labels(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "folder:somewhere",
            "does not have objects with boxes; write one of embedded:<name>, csv:<file>, tfds:",
        ),
        ("embedded:single_digits:large", '"large" is not a size in pixels'),
        ("embedded:digits", 'no such dataset with boxes; did you mean "single_digits"|known'),
        ("vco:somewhere", 'did you mean "voc"|did you mean "coco"'),
    ],
)
def test_invalid_names_of_images_with_objects(name, message):
    with pytest.raises(UserError, match=message):
        catalog.open_objects(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("voc:/no/such/folder", True),
        ("folder:/no/such/folder", False),
        ("csv:/no/such/file", False),
        ("crops:voc:/no/such/folder", False),
        ("embedded:digits", False),
        ("embedded:cluttered_digits", False),
        ("embedded:single_digits:64", True),
        ("nothing", False),
    ],
)
def test_sources_with_objects(name, expected):
    assert catalog.has_objects(name) == expected


def test_unknown_splits_name_the_nearest():
    source = catalog.open_labels("embedded:digits")
    assert source.splits == ("train", "test")
    with pytest.raises(UserError, match='no split "tset"; did you mean "test"'):
        source.load("tset")


def test_aliases_name_the_validation_split(image_folder):
    root = image_folder({"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 3})
    source = catalog.open_labels(f"folder:{root}")
    assert source.splits == ("train", "validation")
    for name in ("val", "valid", "dev", "validation"):
        assert len(source.load(name)) == 4
    assert len(source.load("all")) == 8


def test_every_scheme_has_a_kind():
    assert all(scheme.labels or scheme.objects for scheme in catalog.SCHEMES.values())
    assert all(scheme.usage.startswith(f"{name}:") for name, scheme in catalog.SCHEMES.items())


def test_every_scheme_is_documented():
    """In the table of docs/data.md, at the setting `data.source`, and, if users have such data, in the help of
    `tfeff.analyze --dataset`."""
    data, schema, analyze = (
        (ROOT / name).read_text() for name in ("docs/data.md", "tfeff/config/schema.py", "tfeff/analyze.py")
    )
    for scheme in catalog.SCHEMES.keys() - {"python"}:
        assert f"`{scheme}:" in data, scheme
        assert f"`{scheme}:" in schema, scheme
        assert f"{scheme}:" in analyze or scheme in ("embedded", "crops"), scheme


def test_a_folder_without_a_scheme_gets_the_right_spelling(tmp_path):
    with pytest.raises(UserError, match=f"did you mean folder:{tmp_path}[?]"):
        catalog.open_labels(str(tmp_path))
