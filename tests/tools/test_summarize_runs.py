import json
import math

import pytest

from tfeff import checked, config
from tools.summarize_runs import combined, summarize


def write_run(workdir, settings, result, examples=None):
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_text(config.to_json(settings))
    (workdir / "result.json").write_text(json.dumps({"split": "test", **result}))
    if examples is not None:
        (workdir / "evaluation_test.json").write_text(json.dumps({"examples": examples}))
    return workdir


def test_classifiers(tmp_path):
    runs = [
        write_run(
            tmp_path / str(seed),
            config.Experiment(seed=seed, training=config.Training(epochs=7)),
            {"accuracy": accuracy, "training_seconds": 1.04},
            examples=100,
        )
        for seed, accuracy in enumerate((0.8, 0.9, 1.0))
    ]
    for run in runs:
        rows = [{"epoch": epoch, "train_accuracy": accuracy} for epoch, accuracy in ((6, 0.5), (7, 0.75))]
        (run / "metrics.jsonl").write_text("".join(map(checked.to_line, rows)))
    answer = summarize(runs)
    assert answer["training_accuracy"] == [0.75] * 3
    assert answer["scores"]["accuracy"]["runs"] == [0.8, 0.9, 1.0]
    assert answer["scores"]["accuracy"]["mean"] == pytest.approx(0.9)
    for end in answer["scores"]["accuracy"]["interval"]:  # Student's t, 2 degrees of freedom; variance 0.01 at 0.9
        half = 4.302653 * math.sqrt(0.01 / (0.9 * 0.1) * end * (1 - end) / 3)
        assert abs(0.9 - end) == pytest.approx(half, abs=1e-6)
    assert answer["interval_of_test_images"] == pytest.approx([0.825634, 0.944771], abs=1e-6)
    assert answer["settings"] == {"training.epochs": 7}
    assert (answer["runs"], answer["test_images"], answer["training_seconds"]) == (["0", "1", "2"], 100, [1.0] * 3)


def test_detectors(tmp_path):
    results = [
        {"mean_ap": value, "coco_ap": value / 2, "mean_ap_interval": [value - 0.1, value + 0.1], "params": 7, "macs": 9}
        for value in (0.8, 0.9)
    ]
    answer = summarize(
        [write_run(tmp_path / str(seed), config.Experiment(seed=seed), result) for seed, result in enumerate(results)]
    )
    assert answer["scores"]["mAP@.5"]["runs"] == [0.8, 0.9]
    assert answer["scores"]["COCO AP"]["mean"] == pytest.approx(0.425)
    assert answer["intervals_of_test_images"][1] == pytest.approx([0.8, 1.0])
    assert (answer["params"], answer["macs"]) == (7, 9)


def test_regions_of_r_cnn(tmp_path):
    scores = ("mean_ap", "coco_ap", "accuracy", "called_background", "background_recall", "proposal_recall")
    settings = config.Experiment(task=config.RCNNSettings())
    answer = summarize(
        [write_run(tmp_path / "0", settings, dict.fromkeys(scores, 0.75) | {"mean_ap_interval": [0.5, 1.0]})]
    )
    assert len(answer["scores"]) == 6
    assert answer["scores"]["mAP@.5"] == {"mean": 0.75, "interval": None, "runs": [0.75]}
    assert answer["scores"]["background recall"] == {"mean": 0.75, "interval": None, "runs": [0.75]}


def test_summaries_are_combined_as_if_all_runs_were_in_one_place(tmp_path):
    model = config.architecture("resnet", stage_blocks=(1, 2, 1, 1))
    runs = [
        write_run(
            tmp_path / str(seed),
            config.Experiment(seed=seed, model=model),
            {"accuracy": value, "training_seconds": 1.5},
            50,
        )
        for seed, value in ((0, 0.5), (2, 0.75), (10, 0.875), (11, 1.0))
    ]
    published = json.loads(json.dumps(summarize([runs[0], runs[2]])))
    parts = published, summarize([runs[1], runs[2], runs[3]])
    assert combined(*parts) == summarize(runs)
    assert combined(*reversed(parts)) == summarize(runs)


def test_combined_summaries_keep_what_all_runs_have(tmp_path):
    runs = [write_run(tmp_path / str(seed), config.Experiment(seed=seed), {"accuracy": 0.5}) for seed in (0, 1)]
    many = summarize(runs)
    one = summarize([write_run(tmp_path / "4", config.Experiment(seed=4), {"accuracy": 0.5, "training_seconds": 1.0})])
    for both in (combined(many, one), combined(one, many)):
        assert both["settings"] == {}  # a single run has its seed among its settings
        assert "training_seconds" not in both  # known of one run only
