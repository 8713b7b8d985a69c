import dataclasses
import shutil

import pytest

from tests.thoroughness import THOROUGH
from tfeff import checked, models
from tfeff.analysis.comparison.cost import SAVED_MODEL, measure_costs
from tfeff.analysis.comparison.run import open_runs
from tfeff.errors import UserError
from tfeff.networks.catalog import ALL_BACKBONES
from tfeff.serving import run as serving
from tfeff.serving import timing

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def exported(trained_once):
    """The first of the two runs, with its export."""
    (model,) = open_runs([trained_once[0].path])
    if not model.workdir.saved_model.is_dir():
        serving.exportable(model.workdir).saved_model(model.workdir.saved_model)
    return model


def test_costs_of_a_model(exported, tmp_path):
    (measured,) = measure_costs([exported], [SAVED_MODEL, "litert"], tmp_path / "latency.json")
    estimated = models.estimate(exported.settings.model, num_classes=10, channels=1)
    assert (measured.params, measured.macs) == (estimated.params, estimated.macs)
    assert measured.weights_bytes == len(exported.workdir.final.read_bytes())
    assert list(measured.latencies) == [SAVED_MODEL, "litert"]
    for each in measured.latencies.values():
        assert 0 < each.low <= each.seconds <= each.high
        assert each.size > 4 * measured.params
    assert measured.imagenet_top1 is None


def test_multiply_adds_are_those_of_all_views_of_test_time_augmentation(trained_once, tmp_path):
    """The run averages over the image and two shifted ones."""
    (model,) = open_runs([trained_once[1].path])
    assert (model.settings.task.tta.mirrored, model.settings.task.tta.shift) == (False, 1)
    (measured,) = measure_costs([model], [], tmp_path / "latency.json")
    one = models.estimate(model.settings.model, num_classes=10, channels=1)
    assert (measured.params, measured.macs) == (one.params, 3 * one.macs)


@pytest.mark.slow
def test_models_are_timed_without_the_fitting_of_images(exported, tmp_path):
    formats = ["litert", "onnx", *(["openvino"] if THOROUGH else [])]
    (measured,) = measure_costs([exported], formats, tmp_path / "latency.json")
    run, sizes = serving.exportable(exported.workdir), dict[str, int]()
    for format in formats:
        sizes[format] = timing.bytes_of(run.portable(tmp_path / format, format, fit=False))
        assert measured.latencies[format].size == pytest.approx(sizes[format], abs=100)  # names of nodes vary
    for format in formats[1:]:
        fitting = run.portable(tmp_path / "fitting" / format, format, fit=True)
        assert timing.bytes_of(fitting) > sizes[format] + 1000


def test_costs_of_a_model_with_an_unknown_layer(exported, tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise UserError("the multiply-adds of MyLayer are unknown")

    monkeypatch.setattr(models.complexity, "count", unknown)
    (measured,) = measure_costs([exported], [], tmp_path / "latency.json")
    assert (measured.params, measured.macs) == (exported.network.count_params(), None)


def test_latencies_are_measured_once_for_the_same_models_and_formats(exported, tmp_path):
    path = tmp_path / "latency.json"
    formats = [SAVED_MODEL]

    def seconds():
        (measured,) = measure_costs([exported], formats, path)
        return measured.latencies[SAVED_MODEL].seconds

    seconds()
    kept = checked.read_json(path, "")
    changed = kept | {"latencies": [{SAVED_MODEL: [3.0, 2.0, 4.0, 5]}]}
    checked.write_json(path, changed)
    assert seconds() == 3.0
    checked.write_json(path, changed | {"key": "of another machine"})
    assert seconds() < 1
    path.write_text("{")
    assert seconds() < 1


def test_runs_that_were_not_exported_are_exported_for_the_time_alone(exported, tmp_path):
    copy = shutil.copytree(exported.workdir.path, tmp_path / "copy")
    shutil.rmtree(copy / "saved_model")
    (model,) = open_runs([copy])
    before = sorted(copy.rglob("*"))
    (measured,) = measure_costs([model], [SAVED_MODEL], tmp_path / "latency.json")
    assert measured.latencies[SAVED_MODEL].seconds > 0
    assert sorted(copy.rglob("*")) == before


def test_published_accuracy_is_shown_for_published_weights(exported, tmp_path, monkeypatch):
    section = dataclasses.replace(exported.settings.model, weights="imagenet")
    monkeypatch.setattr(models, "imagenet_top1", {"resnet": 0.75}.get)
    settings = dataclasses.replace(exported.settings, model=section)
    monkeypatch.setitem(exported.__dict__, "plan", dataclasses.replace(exported.plan, settings=settings))
    monkeypatch.setitem(ALL_BACKBONES, "resnet", section)
    assert measure_costs([exported], [SAVED_MODEL], tmp_path / "latency.json")[0].imagenet_top1 == 0.75
    monkeypatch.setitem(ALL_BACKBONES, "resnet", dataclasses.replace(section, width_coefficient=2.0))
    assert measure_costs([exported], [SAVED_MODEL], tmp_path / "latency.json")[0].imagenet_top1 is None  # inherited
