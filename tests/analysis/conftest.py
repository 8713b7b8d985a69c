import shutil

import pytest

from tfeff import config, training


def settings(seed=0, **model):
    return config.Experiment(
        model=config.architecture("resnet", **({"width": 2, "stage_blocks": (1, 1), "resolution": 8} | model)),
        data=config.Data(source="embedded:digits", channels=1, train_examples=144, seed=0),
        training=config.Training(epochs=2, batch_size=32, precision="float32", validation_epochs=2),
        seed=seed,
    )


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """Workdirs of two finished runs on the same digits; the second averages over shifted images."""
    root = tmp_path_factory.mktemp("runs")
    small = training.train(settings(), root / "small", tensorboard=False)
    large = training.train(settings(seed=1, width=4), root / "large", tensorboard=False)
    shifted = config.override(large.config(), ["task.tta.shift=1"])
    (large.path / "config.json").write_text(config.to_json(shifted))
    return small, large


@pytest.fixture
def runs(trained_once, tmp_path):
    """Copies of the two runs that a test may change."""
    return [training.Workdir(shutil.copytree(run.path, tmp_path / run.path.name)) for run in trained_once]
