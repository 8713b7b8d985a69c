import json

import pytest

from tfeff import config, training
from tfeff.serving import run
from tfeff.training import build


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    settings = config.Experiment(
        model=config.Model(width=2, stage_blocks=(1, 1, 1, 1), resolution=8),
        data=config.Data(source="embedded:digits", channels=1, train_examples=144),
        training=config.Training(epochs=3, batch_size=32, precision="float32", validation_epochs=2),
    )
    return training.train(settings, tmp_path_factory.mktemp("run"), tensorboard=False)


def test_a_network_that_is_at_hand_is_not_built_again(finished, monkeypatch, tmp_path):
    model = training.trained_model(finished)
    alone = training.assess(finished, "test", training.Reporter(quiet=True))
    monkeypatch.setattr(build, "model", None)
    assessment = training.conclude(finished, training.Reporter(quiet=True), model)
    assert assessment.report == alone.report
    assert (run.export(finished, tmp_path / "saved_model", model=model) / "saved_model.pb").is_file()


def test_the_result_has_the_measures_of_the_epoch_whose_weights_were_kept(finished):
    training.conclude(finished, training.Reporter(quiet=True))
    result = json.loads((finished.path / "result.json").read_text())
    assert ["validation_accuracy" in row for row in finished.rows()] == [False, True, True]
    assert result["kept_epoch"] == 3
    assert result["validation_accuracy"] == finished.rows()[-1]["validation_accuracy"]
