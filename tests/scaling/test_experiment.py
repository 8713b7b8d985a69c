import json
import sqlite3

import pytest

from tfeff import config
from tfeff.errors import UserError
from tfeff.scaling.baseline import Baseline
from tfeff.scaling.experiment import batch_size, candidate, experiment, stored_networks
from tfeff.scaling.search import open_store
from tfeff.trials.results import Job

SEARCH = config.Search(
    experiment=config.Experiment(
        seed=5,
        model=config.Model(name="resnet", width=8, resolution=16),
        optimizer=config.Optimizer(learning_rate=0.2),
        training=config.Training(batch_size=220),
    ),
)
BASELINE = Baseline(SEARCH.experiment.model, 10, 3)
TWICE = BASELINE.network(1.25, 1.125, 18)  # 1.25 · 1.265625 · 1.265625 = 2.00226


def test_an_experiment_has_the_network_and_its_batch_size_and_learning_rate():
    scaled = experiment(SEARCH, BASELINE, TWICE)
    assert scaled.model == TWICE.model
    assert scaled.training.batch_size == 110
    assert scaled.optimizer.learning_rate == pytest.approx(0.1)
    assert (scaled.seed, scaled.data) == (5, SEARCH.experiment.data)


@pytest.mark.parametrize(("rule", "size"), [("product", 110), ("fixed", 220), ("memory", None)])
def test_batch_size_rules(rule, size):
    search = config.override(SEARCH, [f"trials.batch_size={rule}"])
    scaled = batch_size(search, BASELINE, TWICE)
    if size is None:
        baseline_bytes = 220 * BASELINE.cost.training_peak_bytes
        assert scaled * TWICE.cost.training_peak_bytes == pytest.approx(baseline_bytes, rel=0.01)
    else:
        assert scaled == size
    assert batch_size(search, BASELINE, BASELINE.unscaled) == 220


@pytest.mark.parametrize(
    ("rule", "rate"), [("linear", 0.1), ("sqrt", 0.2 / 2**0.5), ("fixed", 0.2), ("range_test", 0.2)]
)
def test_learning_rate_rules(rule, rate):
    search = config.override(SEARCH, [f"trials.learning_rate={rule}"])
    assert experiment(search, BASELINE, TWICE).optimizer.learning_rate == pytest.approx(rate)


def test_batch_sizes_are_multiples_of_the_accumulation_steps():
    search = config.override(SEARCH, ["experiment.training.accumulation_steps=4"])
    assert batch_size(search, BASELINE, TWICE) % 4 == 0


def test_an_empty_batch_is_refused():
    search = config.override(SEARCH, ["experiment.training.batch_size=1"])
    with pytest.raises(UserError, match=r"training\.batch_size"):
        batch_size(search, BASELINE, BASELINE.network(4.0, 1.0, 16))


def test_stored_networks_keep_the_coefficients_they_were_trained_with(tmp_path):
    first, same = BASELINE.network(1.2, 1.0, 20), BASELINE.network(1.22, 1.0, 20)
    other = Baseline(config.Model(name="resnet", width=8, resolution=16, batch_norm=False), 10, 3)
    assert first.id == same.id
    with open_store(tmp_path, SEARCH) as store:
        store.add_candidates([candidate(SEARCH, BASELINE, first)])
        store.add_candidates([candidate(SEARCH, BASELINE, same), candidate(SEARCH, other, other.unscaled)])
        assert stored_networks(store, BASELINE) == {first.id: first}


def test_a_search_of_an_earlier_version_resumes(tmp_path):
    network = BASELINE.network(1.2 ** (1 / 3), 1.1, 20)  # a depth whose decimal form is longer than 15 digits
    file = sqlite3.connect(tmp_path / "search.sqlite")
    file.executescript("""
        create table facts (name text primary key, value text not null);
        create table networks (
            id text primary key, label text not null, depth real, width real, resolution integer, scale real,
            blocks text, widths text, params integer, macs integer, memory integer, relative_macs real
        );
        create table trials (
            network text not null references networks(id), fold integer not null, seed integer not null,
            epochs integer not null, state text not null check (state in ('running', 'done', 'failed')),
            deaths integer not null default 0, error text, seconds real, peak_bytes integer, rows text,
            primary key (network, fold, seed, epochs)
        );
    """)
    file.execute("insert into facts values ('config', ?)", (config.to_json(SEARCH),))
    file.execute(
        "insert into networks values (?, ?, ?, ?, 20, 1.25, '[3, 2, 2, 2]', '[9, 18, 35, 70]', 1, 2, 3, 4.5)",
        (network.id, network.label, network.depth, network.width),
    )
    rows = [{"epoch": 1, "validation_accuracy": 0.1 + 0.2}]
    for fold, state in ((1, "done"), (0, "failed")):
        file.execute(
            "insert into trials values (?, ?, 0, 4, ?, 1, 'lost', 2.5, null, ?)",
            (network.id, fold, state, json.dumps(rows)),
        )
    file.commit()
    file.close()

    for _ in range(2):  # converted once
        with open_store(tmp_path, SEARCH) as store:
            assert stored_networks(store, BASELINE) == {network.id: network}
            done, failed = store.records()
        assert (done.job, done.state, done.rows) == (Job(network.id, 1, 0, 4), "done", rows)
        assert (failed.job, failed.state, failed.error) == (Job(network.id, 0, 0, 4), "failed", "lost")
        assert (done.seconds, done.deaths, done.peak_bytes) == (2.5, 1, None)
