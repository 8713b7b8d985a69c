import dataclasses

import pytest

from tfeff import checked, config
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
            workdir.append_row({"epoch": 1, "step": 1})
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
    workdir.final.parent.mkdir()
    checkpoint.save(workdir.final, {}, {"epoch": 2, "step": 20, "validation_accuracy": 0.75})
    assert workdir.validated(["accuracy", "mean_ap"]) == {"accuracy": 0.75}
    checkpoint.save(workdir.final, {}, {"epoch": 4})  # its metrics were damaged before the run finished
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


def test_damaged_and_missing_metrics_are_said_and_reordered_ones_are_not_mistaken(tmp_path, caplog):
    checked.warn.cache_clear()
    workdir, path = Workdir(tmp_path), tmp_path / "metrics.jsonl"
    rows = [{"epoch": epoch, "step": 10 * epoch, "loss": 0.5} for epoch in (1, 2, 3, 4)]
    for row in rows:
        workdir.append_row(row)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[3], lines[0], lines[1].replace("0.5", "0.4"), lines[2], lines[0]]))
    assert workdir.rows() == [rows[0], *rows[2:]]
    assert caplog.messages == [
        f"{path}: line 3 is damaged; the metrics of its epoch are lost",
        f"{path}: the metrics of epochs 2 are lost",
    ]


def test_changed_records_are_errors(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.write_dataset({"class_names": ["a", "b"], "mean": [0.25], "std": [0.5], "validation_examples": 3})
    path = tmp_path / "dataset.json"
    whole = path.read_text()
    for text, words in ((whole.replace("0.25", "0.75"), "checksum"), ('{"class_names": ["a"]}', "mean is missing")):
        path.write_text(text)
        with pytest.raises(UserError, match=rf"dataset\.json: damaged.*{words}.*new --workdir"):
            workdir.dataset()
    claim(workdir, config.Experiment())
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"epochs": 10', '"epochs": 18'))
    for read in (workdir.config, lambda: claim(workdir, config.Experiment())):
        with pytest.raises(UserError, match=r"(?s)(config\.json: damaged or edited|dataset\.json)"):
            read()
