import dataclasses

import pytest

from tfeff import config
from tfeff.errors import UserError
from tfeff.training import checkpoint
from tfeff.training.workdir import Workdir


def claim(workdir, experiment):
    with config.claimed(workdir.path, experiment):
        pass


def test_a_workdir_belongs_to_one_config(tmp_path):
    workdir = Workdir(tmp_path / "a" / "b")
    for _ in range(2):
        with config.claimed(workdir.path, config.Experiment(seed=1)):
            assert workdir.config() == config.Experiment(seed=1)
    with pytest.raises(UserError, match="seed: saved 1, now 2"):
        claim(workdir, config.Experiment(seed=2))


def test_error_if_a_file_is_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is in the way"):
        claim(Workdir(tmp_path / "file"), config.Experiment())
    with pytest.raises(UserError, match="file is in the way"):
        claim(Workdir(tmp_path / "file" / "below"), config.Experiment())


def test_incomplete_rows_and_rewind(tmp_path):
    workdir = Workdir(tmp_path)
    for epoch in (1, 2, 3):
        workdir.append_row({"epoch": epoch, "step": 10 * epoch})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "st')
    assert [row["epoch"] for row in workdir.rows()] == [1, 2, 3]
    assert [row["epoch"] for row in workdir.rewind(25)] == [1, 2]
    workdir.append_row({"epoch": 3, "step": 30})
    assert [row["epoch"] for row in workdir.rows()] == [1, 2, 3]


def test_validation_metrics_are_those_of_the_kept_epoch(tmp_path):
    workdir = Workdir(tmp_path)
    for epoch, accuracy in ((1, 0.5), (2, 0.75), (3, 0.625)):
        workdir.append_row({"epoch": epoch, "step": epoch, "validation_accuracy": accuracy})
    workdir.final.parent.mkdir()
    checkpoint.save(workdir.final, {}, {"epoch": 2})
    assert workdir.validated(["accuracy", "mean_ap"]) == {"accuracy": 0.75}
    checkpoint.save(workdir.final, {}, {"epoch": 4})
    assert workdir.validated(["accuracy"]) == {}


def test_error_of_an_empty_workdir(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json there"):
        Workdir(tmp_path).config()


def test_the_saved_config_is_complete(tmp_path):
    workdir = Workdir(tmp_path)
    claim(workdir, config.Experiment())
    text = (tmp_path / "config.json").read_text()
    for section in dataclasses.fields(config.Experiment):
        assert f'"{section.name}"' in text
