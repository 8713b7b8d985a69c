import dataclasses

import pytest

from tfeff import config
from tfeff.errors import UserError

RECIPE = """
from tfeff.config import *

def get_config():
    return Recipe(Experiment(seed=3, model=Model(weights="imagenet")), choose)

def choose(settings):
    return {
        "training.epochs": Choice(7 if settings.model.weights else 70, "few images"),
        "task.augmentation.rotation": Choice(5.0, "photographs"),
        "optimizer.frozen": Choice(("stem*",), "few images"),
    }
"""


def loaded(path, text=RECIPE, *kinds):
    path = path / "recipe.py"
    path.write_text(text)
    return config.load_recipe(path, *(kinds or (config.Experiment, config.RCNN)))


def test_choices_complete_the_config(tmp_path):
    settings, choices = config.complete(loaded(tmp_path), [])
    assert settings == config.Experiment(
        task=config.Classification(augmentation=config.Augmentation(rotation=5.0)),
        seed=3,
        model=config.Model(weights="imagenet"),
        training=config.Training(epochs=7),
        data=config.Data(),
        optimizer=config.Optimizer(frozen=("stem*",)),
    )
    assert list(choices) == ["training.epochs", "task.augmentation.rotation", "optimizer.frozen"]
    assert choices["training.epochs"] == config.Choice(7, "few images")


def test_choices_depend_on_overrides(tmp_path):
    settings, _ = config.complete(loaded(tmp_path), ["model.weights=none"])
    assert settings.training.epochs == 70


def test_overrides_win(tmp_path):
    settings, choices = config.complete(loaded(tmp_path), ["training.epochs=2", "optimizer.frozen=head*"])
    assert (settings.training.epochs, settings.optimizer.frozen) == (2, ("head*",))
    assert list(choices) == ["task.augmentation.rotation"]


def test_wrong_overrides_are_reported_before_choosing(tmp_path):
    recipe = dataclasses.replace(loaded(tmp_path), choose=lambda settings: pytest.fail("chosen"))
    with pytest.raises(UserError, match='"epochs"'):
        config.complete(recipe, ["training.epoch=2"])


def test_a_config_is_a_recipe_without_choices(tmp_path):
    recipe = loaded(tmp_path, "from tfeff.config import *\ndef get_config():\n    return Experiment(seed=4)\n")
    assert config.complete(recipe, ["training.epochs=2"]) == (
        config.Experiment(seed=4, training=config.Training(epochs=2)),
        {},
    )
    path = tmp_path / "config.json"
    path.write_text(config.to_json(recipe.base))
    assert config.load_recipe(path, config.Experiment) == recipe


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"training.epochs"', '"training.epoch"', ['"epoch"', '"epochs"']),
        ('"training.epochs"', '"trainning.epochs"', ['"trainning"', '"training"']),
        ('("stem*",)', "3", ["optimizer.frozen is 3", "a list"]),
        ("few images", 'few" + 1 + "images', ["recipe.py, line ", "TypeError"]),
        ("7 if", "settings.nothing if", ["recipe.py, line ", "nothing"]),
        ("Choice(5.0", "Choise(5.0", ["recipe.py, line ", "Choise"]),
    ],
)
def test_errors_of_wrong_choices(tmp_path, old, new, words):
    assert old in RECIPE
    with pytest.raises(UserError) as error:
        config.complete(loaded(tmp_path, RECIPE.replace(old, new, 1)), [])
    for word in words:
        assert word in str(error.value)


def test_a_recipe_for_another_kind_of_run(tmp_path):
    with pytest.raises(UserError, match=r"recipe\.py: this config is for python -m tfeff\.train"):
        loaded(tmp_path, RECIPE, config.Search)


def test_only_training_takes_recipes(tmp_path):
    loaded(tmp_path)
    with pytest.raises(UserError, match=r"chooses values for a dataset.*config\.json"):
        config.load(tmp_path / "recipe.py", config.Experiment)
