import runpy
from collections import defaultdict
from pathlib import Path

import pytest

from tfeff import api, config
from tfeff.config import shipped
from tfeff.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_a_name_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.find("digits_demo") == CONFIGS / "digits_demo.py"
    named = config.load("digits_demo", config.Experiment)
    assert named == config.load(CONFIGS / "digits_demo.py", config.Experiment)
    assert named == api.load_config("digits_demo")


def test_every_config_has_a_name():
    known = shipped.names()
    assert {"own_images", "own_boxes", "own_budget", "bccd_yolo"} <= set(known)
    assert len(known) == len(list(CONFIGS.glob("*.py")))


def test_configs_that_share_a_store_have_the_same_proposals():
    methods = defaultdict(set)
    for name in shipped.names():
        settings = runpy.run_path(str(shipped.find(name)))["get_config"]()
        experiment = settings.experiment if isinstance(settings, config.Sweep) else settings
        if isinstance(experiment, config.Experiment):
            for section in (experiment.data.proposals, getattr(experiment.task, "proposals", None)):
                if section is not None and section.directory is not None:
                    methods[section.directory].add((section.mode, section.max_proposals))
    assert "runs/bccd_proposals" in methods
    assert {directory: found for directory, found in methods.items() if len(found) > 1} == {}


def test_a_file_is_given_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("own_images", "own_images.py", "mine"):
        (tmp_path / name).touch()
    assert shipped.find("own_images") == CONFIGS / "own_images.py"  # a name is never a file
    assert shipped.find("./own_images.py") == shipped.find("own_images.py") == Path("own_images.py")
    assert shipped.find("mine") == Path("mine")
    assert shipped.find(tmp_path / "mine") == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shipped.find("~/mine") == tmp_path / "mine"


@pytest.mark.parametrize(
    ("given", "wrong", "first"),
    [
        ("own_imags", "no config of this name", "own_images"),
        ("own_box", "no config of this name", "own_boxes"),
        ("configs/own_images.py", "no such file", "own_images"),  # in a checkout, this would be one
        ("/nowhere/bccd_yoloo.py", "no such file", "bccd_yolo"),
    ],
)
def test_an_unknown_name_lists_the_names_similar_ones_first(given, wrong, first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        shipped.find(given)
    message = str(error.value)
    assert message.startswith(f"--config={given}: {wrong}")
    assert f"did you mean --config={first}?" in message
    listed = message.partition("Configs that come with tfeff: ")[2].split(", ")
    assert listed[0] == first
    assert sorted(listed) == shipped.names()


def test_a_name_like_no_other_lists_the_names_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        shipped.find("qqq")
    assert str(error.value).endswith(", ".join(shipped.names()))
    assert "did you mean" not in str(error.value)


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(UserError, match="is a directory; give a file"):
        shipped.find(tmp_path)
