"""The parts of tools/compare_inheritance.py that compute: statistics, schedules, crops, costs."""

import math

import numpy as np
import pytest

HELD_OUT = {"held_out": True, "kind": "pretrained", "lanes": [[1e-3, 0], [1e-3, 1], [3e-3, 0], [3e-3, 1]]}


def test_interval_is_student_t(import_tool):
    mean, half = import_tool("inheritance_tables").interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)
    assert import_tool("inheritance_tables").interval([1.0]) == (1.0, math.inf)


def test_kept_share(import_tool):
    kept = import_tool("inheritance_tables").kept
    share, half = kept([0.7, 0.8], [0.8, 0.9], [0.4, 0.5])
    assert (share, half) == (pytest.approx(0.75), pytest.approx(0))  # the seeds differ by the same in all three
    share, half = kept([0.6, 0.8], [0.9, 0.9], [0.5, 0.5])
    assert share == pytest.approx(0.5)
    assert half == pytest.approx(12.7062 * np.std([0.25, 0.75], ddof=1) / math.sqrt(2), rel=1e-5)


def test_the_best_schedule_is_chosen_for_each_kind(import_tool):
    chosen = import_tool("compare_inheritance").chosen
    short = HELD_OUT | {"epochs": 8, "accuracy": [0.5, 0.7, 0.6, 0.4]}
    long = HELD_OUT | {"epochs": 16, "accuracy": [0.6, 0.5, 0.7, 0.8]}
    random = HELD_OUT | {"kind": "random", "epochs": 40, "accuracy": [1.0, 1.0, 1.0, 1.0]}
    failed = HELD_OUT | {"epochs": 16, "error": "out of memory"}
    assert chosen("pretrained", [short, random, long, failed]) == (3e-3, 16)


def test_rates_rise_and_fall(import_tool):
    rates = import_tool("inheritance_data").rates(1.0, 20)
    np.testing.assert_allclose(rates[:3], [0.5, 1.0, 0.5 * (1 + math.cos(math.pi / 19))], rtol=1e-6)
    assert rates[-1] < 0.01
    assert np.all(np.diff(rates[1:]) < 0)


def test_views(import_tool):
    views = import_tool("inheritance_data").views
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    boxes = np.float32([[0, 0, 1, 0], [0, 0, 1, 1]])
    same = np.asarray(views(images, boxes, 4))
    np.testing.assert_allclose(same[0], images[0], atol=1e-3)
    np.testing.assert_allclose(same[1], images[1, :, ::-1], atol=1e-3)
    corner = np.asarray(views(images, np.float32([[0.5, 0.25, 0.5, 0]] * 2), 2))
    np.testing.assert_allclose(corner[0], images[0, 2:4, 1:3], atol=1e-3)
    moved = np.asarray(views(images, np.float32([[-0.25, 0, 1, 0]] * 2), 4))
    np.testing.assert_allclose(moved[0], images[0][[0, 0, 1, 2]], atol=1e-3)


def test_networks_have_the_wanted_cost(import_tool):
    jobs = import_tool("inheritance_jobs")
    full = jobs.scaled("cifar10", "lite0").macs
    for way in ("width", "resolution", "compound"):
        assert jobs.scaled("cifar10", f"lite0-0.25-{way}").macs / full == pytest.approx(0.25, rel=0.15)
    assert jobs.scaled("cifar10", "lite0-0.25-depth") is None  # one block in each stage costs more
    assert jobs.scaled("cifar10", "lite2-lite0-width").macs / full == pytest.approx(1, rel=0.15)


def test_probe_separates(import_tool):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = rng.normal(size=(60, 5)) + 8 * np.eye(5)[labels]
    assert import_tool("inheritance_data").probe(features[:30], labels[:30], features[30:], labels[30:]) == 1.0


def test_only_tables_with_rows_have_a_heading(import_tool):
    tables = import_tool("inheritance_tables").tables
    network = {"data": "cifar10", "network": "lite0-0.25-compound", "variant": ""}
    done = network | {"start": "inherited", "held_out": False, "macs": 4e8, "accuracy": [0.9, 0.92]}
    tried = network | HELD_OUT | {"start": "inherited", "epochs": 8, "accuracy": [0.5, 0.7, 0.6, 0.4]}
    headings = [line for line in tables([done]).splitlines() if line.startswith("#")]
    assert headings == ["# cifar10: smaller than Lite0", "# cifar10: batch statistics"]
    assert tables([tried, done]).startswith("# Schedules, chosen on held-out training images\n\n| network |")
    assert tables([]) == ""
