import pytest

from tfeff.data.sources import catalog
from tfeff.errors import UserError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "does not say where it comes from"),
        ("embedded:", "does not say where it comes from"),
        ("embeded:digits", 'did you mean "embedded"'),
        ("embedded:digit", 'did you mean "digits"'),
        ("folder:/no/such/folder", "/no/such/folder does not exist"),
    ],
)
def test_a_name_that_leads_nowhere(name, message):
    for call in (lambda: catalog.load(name, "train"), lambda: catalog.splits(name)):
        with pytest.raises(UserError, match=message):
            call()


def test_an_unknown_split_is_answered_with_the_nearest():
    assert catalog.splits("embedded:digits") == ("train", "test")
    with pytest.raises(UserError, match='no split "tset"; did you mean "test"'):
        catalog.load("embedded:digits", "tset")


def test_val_is_short_for_validation(image_folder):
    root = image_folder({"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 3})
    assert catalog.splits(f"folder:{root}") == ("train", "validation")
    assert len(catalog.load(f"folder:{root}", "val")) == 4
    assert len(catalog.load(f"folder:{root}", "validation")) == 4
