import dataclasses

import pytest

from tfeff import config
from tfeff.config import files
from tfeff.errors import UserError


def test_json_round_trip():
    experiment = config.Experiment(
        task=config.ClassificationSettings(augmentation=config.Augmentation(rotation=5.0, horizontal_flip=True)),
        seed=3,
        model=config.architecture("resnet50", stage_blocks=(1, 2), resolution=33),
        data=config.Data(),
        schedule=config.Schedule(boundaries=(1.5, 3.0)),
    )
    assert config.from_json(config.to_json(experiment), config.Experiment) == experiment


@pytest.mark.parametrize(
    ("assignment", "section", "key", "value"),
    [
        ("training.epochs=3", "training", "epochs", 3),
        ("optimizer.learning_rate=1e-3", "optimizer", "learning_rate", 1e-3),
        ("model.stage_blocks=1,2,3,4", "model", "stage_blocks", (1, 2, 3, 4)),
        ("model.weights=none", "model", "weights", None),
        ("training.deterministic=true", "training", "deterministic", True),
        ("data.cache=none", "data", "cache", "none"),
        ("optimizer.frozen=[!h]*,stage[12]*", "optimizer", "frozen", ("[!h]*", "stage[12]*")),
        ("optimizer.frozen=([!h]*,stage[12])", "optimizer", "frozen", ("[!h]*", "stage[12]")),
        (
            "optimizer.learning_rate_factors=st*=0.1, head*=2",
            "optimizer",
            "learning_rate_factors",
            ("st*=0.1", "head*=2"),
        ),
    ],
)
def test_override_parses_values_by_type(assignment, section, key, value):
    changed = config.override(config.Experiment(), [assignment])
    assert getattr(getattr(changed, section), key) == value
    keys = [key for key, _, _ in config.differences(config.Experiment(), changed)]
    assert set(keys) <= {f"{section}.{key}"}


def test_override_of_augmentation():
    changed = config.override(config.Experiment(), ["task.augmentation.rotation=15"])
    assert changed.task.augmentation.rotation == 15


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.epoch=3", ["epoch", '"epochs"']),
        ("trainning.epochs=3", ['"training"']),
        ("training.epochs=three", ["training.epochs", "three", "an integer"]),
        ("training=3", ["training", "section"]),
        ("seed.x=3", ["seed", "single value"]),
        ("training.epochs", ["--config.training.epochs=VALUE"]),
        ("training.precision=float16", ["mixed_float16"]),
        ("training.epochs=0", ["training.epochs", "above 0"]),
        ("data.channels=2", ["data.channels", "3 (RGB)"]),
        ("task.augmentation.rotatoin=3", ['"rotation"']),
        ("data.cache=disk", ["cache_directory"]),
        ("optimizer.learning_rate_factors=head*", ["learning_rate_factors", "head*=10"]),
        ("optimizer.learning_rate_factors=head*=ten", ["learning_rate_factors", "head*=10"]),
        ("optimizer.learning_rate_factors=head*=0", ["above 0", "optimizer.frozen"]),
        ("optimizer.learning_rate_factors==2", ["learning_rate_factors", "head*=10"]),
        ("optimizer.weight_decay_kind=L2", ['"decoupled" or "l2"']),
        ("data.fold_examples=100", ["data.fold_examples", "requires data.folds"]),
        ("data.fold=1", ["data.fold", "0 without data.folds"]),
        ("training.validation_epochs=0", ["training.validation_epochs", "above 0"]),
    ],
)
def test_errors_of_wrong_overrides(assignment, words):
    with pytest.raises(UserError) as error:
        config.override(config.Experiment(), [assignment])
    for word in words:
        assert word in str(error.value)


def test_keeping_the_best_epoch_requires_validation_images():
    with pytest.raises(UserError, match="validation_fraction"):
        config.Experiment(data=config.Data(validation_fraction=0.0), training=config.Training(keep="best"))


def test_constraints_on_independent_folds():
    data = config.Data(folds=1, fold_examples=100, validation_fraction=0.5)
    for changes in ({"fold_examples": None}, {"validation_fraction": 0.0}, {"fold": 1}):
        with pytest.raises(UserError, match=r"data\.(folds|validation_fraction|fold) is"):
            dataclasses.replace(data, **changes)


def test_sections_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.Training().epochs = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", ["get_config"]),
        ("def get_config(:\n", ["line 1"]),
        ("def get_config():\n    return 3\n", ["int", "Experiment"]),
        (
            "from tfeff.config import *\ndef get_config():\n    return Experiment(training=Training(epoch=3))\n",
            ['"epochs"', "Training"],
        ),
        ("from tfeff.config import *\ndef get_config():\n    return Experiment(modell=3)\n", ['"model"']),
        ("import no_such_module\n", ["line 1", "no_such_module"]),
        ("\ndef get_config():\n    return Experimnt()\n", ["line 3", "NameError", "Experimnt"]),
        ("get_config = 3\n", ["TypeError", "not callable"]),
        (
            "from tfeff.config import *\ndef get_config():\n    return Training(epochs=0)\n",
            ["training.epochs", "above 0"],
        ),
        ("\0", ["null bytes"]),
        ("import sys\nsys.exit(3)\n", ["ends the program (3)"]),
    ],
)
def test_errors_of_bad_config_files(tmp_path, text, words):
    path = tmp_path / "c.py"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        config.load(path, config.Experiment)
    for word in [*words, str(path)]:
        assert word in str(error.value)


def test_missing_config_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.py"):
        config.load(tmp_path / "nowhere.py", config.Experiment)


def test_unknown_key_in_json():
    with pytest.raises(UserError, match=r'"epochs"'):
        config.from_json('{"training": {"epoch": 3}}', config.Experiment)


def test_overrides_are_validated_together():
    changed = config.override(config.Experiment(), ["data.cache=disk", "data.cache_directory=somewhere"])
    assert (changed.data.cache, changed.data.cache_directory) == ("disk", "somewhere")


def test_a_key_without_its_section_is_suggested():
    with pytest.raises(UserError, match=r'did you mean "training\.batch_size"'):
        config.override(config.Experiment(), ["batch_size=3"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", ["not a JSON object"]),
        ("{", ["not JSON"]),
        ('{"training": 3}', ["training is 3"]),
        ('{"seed": -1}', ["seed", "between 0"]),
        ('{"optimizer": {"learning_rate": NaN}}', ["learning_rate", "a number"]),
        ('{"task": {"augmentation": {"rotation": "x"}}}', ["task.augmentation.rotation", "a number"]),
        (
            '{"training": {"batch_size": 8, "accumulation_steps": 3}}',
            ["accumulation_steps", "divisor of batch_size = 8"],
        ),
    ],
)
def test_errors_of_wrong_json(text, words):
    with pytest.raises(UserError) as error:
        config.from_json(text, config.Experiment)
    for word in words:
        assert word in str(error.value)


def test_nested_sections_do_not_shadow_outer_keys():
    changed = config.override(config.Experiment(), ["seed=3", "data.seed=4"])
    assert (changed.seed, changed.data.seed) == (3, 4)
    with pytest.raises(UserError, match=r'did you mean "experiment\.optimizer\.learning_rate"'):
        config.override(config.Search(), ["learning_rate=1"])


def test_keys_of_a_search_may_omit_its_experiment():
    changed = config.override(config.Search(), ["optimizer.learning_rate=1", "budget.macs=3", "experiment.seed=2"])
    assert (changed.experiment.optimizer.learning_rate, changed.budget.macs, changed.experiment.seed) == (1, 3, 2)


def test_a_failed_start_does_not_claim_the_workdir(tmp_path):
    wrong, right = config.Experiment(seed=1), config.Experiment(seed=2)
    with pytest.raises(UserError, match="no such folder"), config.claimed(tmp_path, wrong):
        raise UserError("no such folder")
    with pytest.raises(OSError, match="full"), config.claimed(tmp_path, right), (tmp_path / "metrics.jsonl").open("w"):
        raise OSError("full")
    with pytest.raises(UserError, match="belongs to another config"):
        config.claimed(tmp_path, wrong).__enter__()


@pytest.mark.parametrize("held", [config.RUN_FILE, config.SEARCH_FILE, config.SWEEP_FILE])
def test_results_of_another_kind_are_not_replaced(tmp_path, held):
    """Their reports have the same names."""
    (tmp_path / held).write_text(config.to_json(config.Experiment()))
    for own in (config.RUN_FILE, config.SEARCH_FILE, config.SWEEP_FILE):
        if own == held:
            config.refuse_other_results(tmp_path, own)
            continue
        with pytest.raises(UserError, match=rf"it holds the results of a \w+ \({held}\).* --workdir={tmp_path}-"):
            config.refuse_other_results(tmp_path, own)
    if held != config.RUN_FILE:
        with (
            pytest.raises(UserError, match="which those of a run would replace"),
            config.claimed(tmp_path, config.Experiment()),
        ):
            pass


def test_a_config_can_be_corrected_until_its_run_has_trained(tmp_path):
    for seed in (1, 2):
        with config.claimed(tmp_path, config.Experiment(seed=seed)):
            (tmp_path / "unreadable").mkdir(exist_ok=True)  # what reading the images leaves
        assert config.saved(tmp_path, config.Experiment).seed == seed
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="seed: saved 2, now 3"):
        config.claimed(tmp_path, config.Experiment(seed=3)).__enter__()


def test_a_run_may_go_on_without_corrupt_images(tmp_path):
    strict = config.Experiment()
    lenient = config.override(strict, ["data.corrupt_images=skip"])
    with config.claimed(tmp_path, strict):
        (tmp_path / "metrics.jsonl").touch()
    with config.claimed(tmp_path, lenient):
        pass
    assert config.saved(tmp_path, config.Experiment) == lenient
    with pytest.raises(UserError, match="belongs to another config"), config.claimed(tmp_path, strict):
        pass


def test_a_run_may_resume_with_other_values_that_change_no_result(tmp_path):
    keys = "data.cache=none", "data.max_lost=0.5", "data.directory=/data", "training.checkpoint_seconds=60"
    first, other = config.Experiment(), config.override(config.Experiment(), keys)
    with config.claimed(tmp_path, first):
        (tmp_path / "metrics.jsonl").touch()
    for each in (other, first):
        with config.claimed(tmp_path, each):
            pass
        assert config.saved(tmp_path, config.Experiment) == each
    assert not files.WITHOUT_EFFECT - config.flatten(first).keys()


RECIPE = """
from tfeff.config import *

def get_config():
    return Recipe(Experiment(seed=3, model=architecture("resnet", weights="imagenet")), choose)

def choose(settings, kept):
    return {
        "training.epochs": Choice(7 if settings.model.weights else 70, "few images"),
        "task.augmentation.rotation": Choice(5.0, "photographs"),
        "optimizer.frozen": Choice(("stem*",), "few images"),
    }
"""


def loaded(path, text=RECIPE, *kinds):
    path = path / "recipe.py"
    path.write_text(text)
    return config.load_recipe(path, *(kinds or (config.Experiment, config.Search)))


def test_choices_complete_the_config(tmp_path):
    settings, choices = config.complete(loaded(tmp_path), [])
    assert settings == config.Experiment(
        task=config.ClassificationSettings(augmentation=config.Augmentation(rotation=5.0)),
        seed=3,
        model=config.architecture("resnet", weights="imagenet"),
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


def test_a_wrong_value_in_a_file_is_reported_with_the_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"training": {"batch_size": 8, "accumulation_steps": 3}}')
    with pytest.raises(UserError, match=r"mine\.json: config: .*accumulation_steps"):
        config.load(path, config.Experiment)


def test_a_description_made_from_lists_equals_the_saved_one(tmp_path):
    """Statistics of a search's images come from its store, where they are lists."""
    model = dataclasses.replace(config.architecture("resnet"), mean=[60.5], std=[43.25])
    trial = config.Experiment(model=model)
    with config.claimed(tmp_path, trial):
        (tmp_path / "metrics.jsonl").touch()
    assert config.saved(tmp_path, config.Experiment) == trial
    with config.claimed(tmp_path, trial):
        pass


def test_the_workdir_of_a_search_names_that_of_its_network(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "config.json").write_text("{}")
    (tmp_path / "search.sqlite").touch()
    with pytest.raises(UserError, match=rf"the workdir of a search; that of its network is {tmp_path}/best"):
        config.saved(tmp_path, config.Experiment)
    with pytest.raises(UserError, match=r"--out=.*: the workdir of a run or search"):
        config.refuse_workdir(tmp_path)
    (tmp_path / "search.sqlite").rename(tmp_path / "sweep.sqlite")
    with pytest.raises(UserError, match=r"--out=.*: the workdir of a run or search"):
        config.refuse_workdir(tmp_path)
