import pytest

from tests.rcnn.voc_digits import write_voc
from tests.thoroughness import only_thorough
from tests.verbs import ROOT
from tfeff import config

PATH = ROOT / "configs" / "own_boxes.py"


@pytest.fixture
def source(tmp_path) -> str:
    write_voc(tmp_path / "voc", {"train": range(12), "test": range(12, 15)})
    return f"voc:{tmp_path / 'voc'}"


def test_choices(source):
    recipe = config.load_recipe(PATH, config.RCNN)
    settings, choices = config.complete(recipe, [f"data.source={source}", "backbone.model.weights=none"])
    backbone = settings.backbone
    assert (backbone.model.name, backbone.model.resolution, backbone.data.image_size) == ("resnet", 48, 48)
    assert backbone.optimizer.frozen == ()
    assert settings.proposals.max_proposals in (250, 1000)
    assert backbone.training.batch_size * 15 <= int(choices["backbone.training.batch_size"].why.split()[0])


@only_thorough
def test_training_a_detector(verbs, source, tmp_path):
    workdir = tmp_path / "run"
    done = verbs(
        *("train", f"--config={PATH}", f"--workdir={workdir}", f"--config.data.source={source}"),
        *("--config.backbone.model.weights=none", "--config.backbone.model.width=4"),
        *("--config.backbone.model.stage_blocks=1,1", "--config.backbone.training.epochs=1"),
        *("--config.proposals.max_proposals=60", "--config.joint.epochs=1"),
    ).succeeds()
    assert "backbone.model.resolution" in done.out
    saved = config.load(workdir / "config.json", config.RCNN)
    assert (saved.backbone.model.resolution, saved.proposals.max_proposals) == (48, 60)
    assert (workdir / "evaluation_test.json").is_file()
