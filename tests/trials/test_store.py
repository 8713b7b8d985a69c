import sqlite3
import subprocess
import sys
import time

import pytest

from tfeff import config
from tfeff.errors import UserError
from tfeff.scaling.allocation import Job
from tfeff.scaling.baseline import Baseline
from tfeff.scaling.store import Store

SEARCH = config.Search()
JOB = Job("b4-p100-r16", 0, 0, 3)
ROWS = [{"epoch": 1, "validation_accuracy": 0.5}, {"epoch": 3, "validation_accuracy": 0.625}]


def test_what_is_kept_comes_back(tmp_path):
    path = tmp_path / "search.sqlite"
    store = Store(path, SEARCH)
    store.start(JOB)
    store.finish(JOB, ROWS, seconds=2.5, peak_bytes=1 << 40)
    lost = Job("b4-p100-r16", 1, 0, 3)
    store.start(lost)
    assert [store.died(lost), store.died(lost)] == [1, 2]
    store.fail(lost, "its process ended by signal SIGKILL")
    store.write_fact("latency x", "0.25")
    store.close()

    first, second = Store(path, SEARCH).records()
    assert (first.job, first.state, first.rows, first.seconds, first.peak_bytes) == (JOB, "done", ROWS, 2.5, 1 << 40)
    assert (second.job, second.state, second.deaths, second.error) == (
        lost,
        "failed",
        2,
        "its process ended by signal SIGKILL",
    )
    assert Store(path, None).fact("latency x") == "0.25"


def test_what_is_remembered_is_computed_once_even_by_another_process(tmp_path):
    calls = []

    def compute():
        calls.append(None)
        return {"mean": (0.1, 0.2), "none": None}

    with Store(tmp_path / "s", SEARCH) as store:
        store.start(JOB)  # facts of a search without trials are not kept
        first = store.remember("what", compute)
        # The same form at once and later: JSON knows no tuples.
        assert first == store.remember("what", compute) == {"mean": [0.1, 0.2], "none": None}
        assert store.remember("nothing", lambda: None) is None
    with Store(tmp_path / "s", SEARCH) as store:
        assert store.remember("what", compute) == first
        assert store.remember("nothing", lambda: calls.append(None)) is None
    assert len(calls) == 1


def test_another_search_is_refused_by_its_keys(tmp_path):
    with Store(tmp_path / "s", SEARCH) as store:
        store.start(JOB)
    other = config.override(SEARCH, ["experiment.training.epochs=3", "folds.count=7"])
    with pytest.raises(UserError) as error:
        Store(tmp_path / "s", other)
    for word in ("experiment.training.epochs", "folds.count", "10", "3", "--workdir"):
        assert word in str(error.value)


def test_a_file_that_is_no_store_is_named(tmp_path):
    (tmp_path / "s").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="not a database"):
        Store(tmp_path / "s", SEARCH)
    with pytest.raises(UserError, match="no missing there"):
        Store(tmp_path / "missing", None)


def test_it_can_be_read_while_it_grows(tmp_path):
    writer = Store(tmp_path / "s", SEARCH)
    reader = sqlite3.connect(tmp_path / "s")
    for epoch in range(1, 4):
        writer.start(Job("x", 0, 0, epoch))
        assert reader.execute("select count(*) from trials").fetchone() == (epoch,)


def test_a_killed_writer_leaves_whole_rows(tmp_path):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tfeff import config\n"
        "from tfeff.scaling.allocation import Job\n"
        "from tfeff.scaling.store import Store\n"
        "store = Store(Path(sys.argv[1]), config.Search())\n"
        "for number in range(10**9):\n"
        "    job = Job(f'n{number}', 0, 0, 1)\n"
        "    store.start(job)\n"
        "    store.finish(job, [{'epoch': number}] * 100, 1.0, None)\n"
    )
    path = tmp_path / "s"
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", script, str(path)])
        while not (path.exists() and _count(path) > 5):
            time.sleep(0.05)
        writer.kill()
        writer.wait()
        records = Store(path, SEARCH).records()
        done = [record for record in records if record.state == "done"]
        assert all(len(record.rows) == 100 for record in done)
        assert len(records) - len(done) <= 1
        path.unlink()
        for rest in tmp_path.glob("s-*"):
            rest.unlink()


def _count(path):
    try:
        return sqlite3.connect(path).execute("select count(*) from trials").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


@pytest.mark.parametrize(
    "keys",
    [
        ["sweeps.ratios=2,4", "sweeps.batch_norm=true"],
        ["objective.exponent=-0.07", "allocation.name=racing", "budget.candidates=30", "folds.seeds=2"],
        ["trials.attempts=5"],
    ],
)
def test_what_no_trial_depends_on_may_change_later(tmp_path, keys):
    Store(tmp_path / "s", SEARCH).close()
    more = config.override(SEARCH, keys)
    Store(tmp_path / "s", more).close()
    # The last one given is the one that the results are told by.
    assert config.from_json(Store(tmp_path / "s", None).fact("config"), config.Search) == more


def test_a_list_of_candidates_does_not_bind_the_search(tmp_path):
    other = config.override(SEARCH, ["experiment.training.epochs=3"])
    with Store(tmp_path / "s", SEARCH) as store:
        store.write_fact("latency x", "[1.0, 1.0]")
    with Store(tmp_path / "s", other) as store:  # nothing has been trained
        assert store.fact("latency x") is None
        store.start(JOB)
    with pytest.raises(UserError, match="another search"):
        Store(tmp_path / "s", SEARCH)


def test_networks_come_back_with_the_coefficients_of_their_trials(tmp_path):
    baseline = Baseline(config.Model(name="resnet", width=8, resolution=16), 10, 3)
    first, same = baseline.network(1.2, 1.0, 20), baseline.network(1.22, 1.0, 20)
    other = Baseline(config.Model(name="resnet", width=8, resolution=16, batch_norm=False), 10, 3).start
    assert first.id == same.id
    with Store(tmp_path / "s", SEARCH) as store:
        store.add_networks([first])
        store.add_networks([same, other])
        assert store.networks(baseline) == {first.id: first}


def test_a_trial_that_could_not_start_is_kept_as_failed(tmp_path):
    with Store(tmp_path / "s", SEARCH) as store:
        store.fail(JOB, "its learning-rate range test failed")
        (record,) = store.records()
    assert (record.job, record.state, record.error) == (JOB, "failed", "its learning-rate range test failed")
