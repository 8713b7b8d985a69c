import dataclasses
import json

from tfeff import models
from tfeff.workbench.comparison import costs
from tfeff.workbench.comparison.run import open_runs


def test_costs_of_a_model(runs, tmp_path):
    compared = open_runs([run.path for run in runs])
    measured = costs.measure(compared, tmp_path / "latency.json")
    for model, cost in zip(compared, measured, strict=True):
        section = model.settings.model
        options = {"resolution": section.resolution, **section.options()}
        estimated = models.estimate(models.architecture(section.name, **options), num_classes=10, channels=1)
        assert (cost.params, cost.macs) == (estimated.params, estimated.macs)
        assert cost.weights_bytes == len(model.workdir.final.read_bytes())
        assert 0 < cost.latency_low <= cost.latency <= cost.latency_high
        assert cost.imagenet_top1 is None


def test_latencies_are_measured_once_for_the_same_models(runs, tmp_path):
    path = tmp_path / "latency.json"
    compared = open_runs([run.path for run in runs])
    costs.measure(compared, path)
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"seconds": [[1.0, 2.0], [3.0, 2.0], [3.0, 2.0]]}))
    assert [cost.latency for cost in costs.measure(compared, path)] == [3.0, 2.0]
    assert costs.measure(compared[::-1], path)[0].latency < 1
    path.write_text("{")
    assert costs.measure(compared, path)[0].latency < 1


def test_published_accuracy_is_shown_for_published_weights(runs, tmp_path, monkeypatch):
    (model,) = open_runs([runs[0].path])
    section = dataclasses.replace(model.settings.model, weights="imagenet")
    monkeypatch.setattr(models, "imagenet_top1", {"resnet": 0.75}.get)
    monkeypatch.setitem(model.__dict__, "settings", dataclasses.replace(model.settings, model=section))
    assert costs.measure([model], tmp_path / "latency.json")[0].imagenet_top1 == 0.75
