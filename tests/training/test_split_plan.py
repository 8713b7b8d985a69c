import pytest

from tests.training.digit_splits import FOLDERS, digits, planned
from tfeff import config
from tfeff.errors import UserError
from tfeff.training import selection, split_plan


def test_without_held_out_images_a_validation_folder_still_validates(image_folder):
    _, _, chosen = planned(image_folder(FOLDERS), validation_fraction=0.0)
    assert chosen.validation == "validation"


def test_an_unused_fraction_is_noted(image_folder):
    _, _, chosen = planned(image_folder(FOLDERS), validation_fraction=0.3)
    assert 'data.validation_fraction is not used, since the source has a split "validation"' in chosen.notes[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"test_split": "tset"}, r'data.test_split: .* has no split "tset"'),
        ({"validation_split": "held"}, r'data.validation_split: .* has no split "held"'),
        ({"train_split": "trian"}, r'data.train_split: .* has no split "trian"; did you mean "train"'),
        ({"test_split": "train"}, r"data.test_split: .* shares images with data.train_split"),
        ({"validation_split": "train"}, r"data.validation_split: .* shares images"),
        ({"train_split": "all"}, r'data.train_split: .* has no split "all"'),
        ({"validation_split": "all"}, r'data.validation_split: .* has no split "all"'),
        ({"test_split": "all"}, r'data.test_split: .* has no split "all"'),
    ],
)
def test_mistakes_in_splits_are_reported_before_reading(image_folder, data, message):
    with pytest.raises(UserError, match=message):
        planned(image_folder(FOLDERS), **data)


def test_a_single_class_is_refused(image_folder):
    with pytest.raises(UserError, match='has a single class, "a"; a classifier needs at least two'):
        planned(image_folder({"train/a": 12, "val/a": 5}))


def test_lists_that_overlap_the_training_split_do_not_validate(dataset):
    settings = config.override(digits(source=f"voc:{dataset('bccd') / 'BCCD'}"), ["task.name=localization"])
    source = selection.open_source(settings)
    assert split_plan.plan(settings, source).validation == "validation"
    joined = config.override(settings, ["data.train_split=trainval"])
    assert split_plan.plan(joined, source).validation is None
    with pytest.raises(UserError, match="shares images with"):
        split_plan.plan(config.override(joined, ["data.validation_split=val"]), source)
