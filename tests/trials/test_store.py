import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.thoroughness import THOROUGH
from tfeff import checked, config
from tfeff.errors import UserError
from tfeff.scaling import search as scaling
from tfeff.selection import Fingerprint
from tfeff.trials import store as stores
from tfeff.trials.database import Database
from tfeff.trials.results import Job
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate

SEARCH = config.Search()
JOB = Job("b4-p100-r16", 0, 0, 3)
ROWS = [{"epoch": 1, "validation_accuracy": 0.5}, {"epoch": 3, "validation_accuracy": 0.625}]


def open_store(path, search=SEARCH):
    return TrialStore(path, search, scaling.FREE)


def test_records_and_facts_are_read_back(tmp_path):
    path = tmp_path / "search.sqlite"
    store = open_store(path)
    store.start(JOB)
    store.finish(JOB, ROWS, seconds=2.5, peak_bytes=1 << 40)
    lost = Job("b4-p100-r16", 1, 0, 3)
    store.start(lost)
    assert [store.count_death(lost), store.count_death(lost)] == [1, 2]
    store.fail(lost, "process was killed by SIGKILL")
    store.write_fact("latency x", "0.25")
    store.close()

    first, second = open_store(path).records()
    assert (first.job, first.state, first.rows, first.seconds, first.peak_bytes) == (JOB, "done", ROWS, 2.5, 1 << 40)
    assert (second.job, second.state, second.deaths, second.error) == (
        lost,
        "failed",
        2,
        "process was killed by SIGKILL",
    )
    assert open_store(path, None).fact("latency x") == "0.25"


def test_cached_values_are_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(None)
        return {"mean": (0.1, 0.2), "none": None}

    with open_store(tmp_path / "s") as store:
        store.start(JOB)  # facts of a search without trials are deleted when its config changes
        first = store.cached("what", compute)
        # JSON has no tuples: the first value has the same form as later ones.
        assert first == store.cached("what", compute) == {"mean": [0.1, 0.2], "none": None}
        assert store.cached("nothing", lambda: None) is None
    with open_store(tmp_path / "s") as store:
        assert store.cached("what", compute) == first
        assert store.cached("nothing", lambda: calls.append(None)) is None
    assert len(calls) == 1


def test_another_config_is_refused_with_the_keys_that_differ(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.start(JOB)
    other = config.override(SEARCH, ["experiment.training.epochs=3", "folds.count=7"])
    with pytest.raises(UserError) as error:
        open_store(tmp_path / "s", other)
    for word in ("experiment.training.epochs", "folds.count", "10", "3", "--workdir"):
        assert word in str(error.value)


def test_a_missing_or_invalid_file_is_named(tmp_path):
    (tmp_path / "s").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="not a database"):
        open_store(tmp_path / "s")
    with pytest.raises(UserError, match="no missing in it"):
        open_store(tmp_path / "missing", None)


def test_a_store_can_be_read_while_it_is_written(tmp_path):
    writer = open_store(tmp_path / "s")
    reader = sqlite3.connect(tmp_path / "s")
    for epoch in range(1, 4):
        writer.start(Job("x", 0, 0, epoch))
        assert reader.execute("select count(*) from trials").fetchone() == (epoch,)


@pytest.mark.slow
def test_a_killed_writer_leaves_complete_rows(tmp_path):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tfeff import config\n"
        "from tfeff.trials.results import Job\n"
        "from tfeff.trials.store import TrialStore\n"
        "store = TrialStore(Path(sys.argv[1]), config.Search())\n"
        "for number in range(10**9):\n"
        "    job = Job(f'n{number}', 0, 0, 1)\n"
        "    store.start(job)\n"
        "    store.finish(job, [{'epoch': number}] * 100, 1.0, None)\n"
    )
    path = tmp_path / "s"
    for _ in range(1 + THOROUGH):
        writer = subprocess.Popen([sys.executable, "-c", script, str(path)])
        while not (path.exists() and _count(path) > 5):
            time.sleep(0.05)
        writer.kill()
        writer.wait()
        records = open_store(path).records()
        done = [record for record in records if record.state == "done"]
        assert all(len(record.rows) == 100 for record in done)
        assert len(records) - len(done) <= 1
        path.unlink()
        for log in tmp_path.glob("s-*"):
            log.unlink()


def _count(path):
    try:
        return sqlite3.connect(path).execute("select count(*) from trials").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


@pytest.mark.parametrize(
    "keys",
    [
        ["members.ratios=2,4", "members.batch_norm=true"],
        ["objective.exponent=-0.07", "allocation.reduction=4", "budget.candidates=30", "folds.seeds=2"],
        ["trials.attempts=5"],
        ["experiment.data.cache=none", "experiment.training.checkpoint_seconds=60"],
    ],
)
def test_keys_that_no_trial_depends_on_may_change(tmp_path, keys):
    with open_store(tmp_path / "s") as store:
        store.start(JOB)
    more = config.override(SEARCH, keys)
    open_store(tmp_path / "s", more).close()
    # The store keeps the latest config.
    assert config.from_json(open_store(tmp_path / "s", None).fact("config"), config.Search) == more


def test_a_store_without_trials_accepts_another_config(tmp_path):
    other = config.override(SEARCH, ["experiment.training.epochs=3"])
    with open_store(tmp_path / "s") as store:
        store.write_fact("latency x", "[1.0, 1.0]")
    with open_store(tmp_path / "s", other) as store:  # no trial has started
        assert store.fact("latency x") is None
        store.start(JOB)
    with pytest.raises(UserError, match="another config"):
        open_store(tmp_path / "s")


@pytest.mark.parametrize("interrupted", [True, False])
def test_learning_rates_are_not_discarded_by_another_config(tmp_path, interrupted):
    with open_store(tmp_path / "s") as store:
        if interrupted:
            (tmp_path / "trials" / JOB.candidate / "rate0.1").mkdir(parents=True)
        else:
            store.write_fact(f"learning_rate {JOB.candidate}", "[[0.1, 0.5]]")
    with pytest.raises(UserError, match="another config"):
        open_store(tmp_path / "s", config.override(SEARCH, ["experiment.training.epochs=3"]))


def test_the_first_settings_of_a_candidate_are_kept(tmp_path):
    first, second = (Candidate("x", "X", config.Experiment(), 7, {"depth": depth}) for depth in (0.1 + 0.2, 2.0))
    with open_store(tmp_path / "s") as store:
        store.add_candidates([first])
        store.add_candidates([second, Candidate("a", "A", config.Experiment(), 7, {"blocks": [1, 2]})])
    with open_store(tmp_path / "s") as store:
        assert list(store.candidates().items()) == [("x", {"depth": 0.1 + 0.2}), ("a", {"blocks": [1, 2]})]


def test_a_candidate_of_the_same_name_that_is_trained_differently_is_refused(tmp_path):
    first, other = (
        Candidate("x", "X", config.override(config.Experiment(), [f"optimizer.learning_rate={rate}"]), 7)
        for rate in (0.1, 0.2)
    )
    with open_store(tmp_path / "s") as store:
        store.add_candidates([first])
    with open_store(tmp_path / "s") as store:
        store.add_candidates([first])
        with pytest.raises(UserError, match=r"trials of X .*\n  optimizer.learning_rate: saved 0.1, now 0.2\n"):
            store.add_candidates([other])


def test_a_trial_that_never_started_can_fail(tmp_path):
    with open_store(tmp_path / "s") as store:
        store.fail(JOB, "learning-rate range test failed")
        (record,) = store.records()
    assert (record.job, record.state, record.error) == (JOB, "failed", "learning-rate range test failed")


def test_learning_rates_of_another_version_are_not_continued(tmp_path):
    store = open_store(tmp_path / "search.sqlite")
    store.write_fact(f"learning_rate {JOB.candidate}", "[[0.1, 0.5]]")
    store.write_fact("version", "1")
    with pytest.raises(UserError, match="another version"):
        store.claim_version()


def test_trials_of_another_version_are_not_continued(tmp_path):
    store = open_store(tmp_path / "search.sqlite")
    store.claim_version()
    store.start(JOB)
    store.claim_version()
    store.write_fact("version", "1")
    with pytest.raises(UserError, match="trials of another version"):
        store.claim_version()


def damage(path, statement, *values):
    with sqlite3.connect(path) as file:
        file.execute(statement, values)
    file.close()


def claim(store):
    store.claim_images(Fingerprint({}), "embedded:digits", None)
    store.claim_version()


def test_damaged_trials_and_facts_are_dropped_and_said(tmp_path, caplog):
    checked.warn.cache_clear()
    path, other = tmp_path / "s", Job("b4-p100-r16", 1, 0, 3)
    with open_store(path) as store:
        claim(store)
        for job in (JOB, other):
            store.start(job)
            store.finish(job, ROWS, seconds=2.5, peak_bytes=None)
        store.cached("latency x", lambda: 0.25)
        store.add_candidates([Candidate("x", "X", config.Experiment(), 7, {"depth": 2.0})])
    damage(path, "update trials set rows = replace(rows, '0.625', '0.825') where fold = 0")
    damage(path, "update facts set value = '0.75' where name = 'latency x'")
    damage(path, """update candidates set settings = '{"depth": 3.0}'""")
    with open_store(path, None) as store:  # a reader changes nothing
        assert [record.job for record in store.records()] == [other]
    with open_store(path) as store:
        assert [record.job for record in store.records()] == [other]
        assert store.cached("latency x", lambda: 0.5) == 0.5
        assert store.candidates() == {}
        store.start(JOB)
        assert [(record.job, record.state) for record in store.records()] == [(other, "done"), (JOB, "running")]
    assert caplog.messages == [
        f"{path}: 1 of its {table} are damaged; what they held is computed again"
        for table in ("facts", "candidates", "trials")
    ]


@pytest.mark.parametrize("byte", [b"X", b"\xff", b"\0"], ids=["ASCII", "not UTF-8", "zero"])
@pytest.mark.parametrize("text", [b"b4-p100-r17", b"done", b"0.375", b"killed by SIGKILL"])
def test_a_damaged_byte_costs_its_trial_alone(tmp_path, text, byte):
    """Also in the name of the candidate, which is in an index, and in the state."""
    path, lost, other = tmp_path / "s", Job("b4-p100-r17", 0, 0, 3), Job("b4-p100-r18", 1, 0, 3)
    with open_store(path) as store:
        claim(store)
        store.start(JOB)
        store.start(other)
        store.start(lost)
        if text == b"killed by SIGKILL":
            store.fail(lost, text.decode())
        else:
            store.finish(lost, [{"epoch": 3, "validation_accuracy": 0.375}], seconds=2.5, peak_bytes=None)
    content = path.read_bytes()
    place = content.index(text)
    path.write_bytes(content[:place] + byte + content[place + 1 :])
    with open_store(path, None) as store:
        assert [record.job for record in store.records()] == [JOB, other]
    with open_store(path) as store:
        assert [record.job for record in store.records()] == [JOB, other]
        assert store.count_death(other) == 1
        store.start(lost)
        assert [(record.job, record.deaths) for record in store.records()] == [(JOB, 0), (other, 1), (lost, 0)]


def test_an_index_that_is_damaged_is_made_again(tmp_path):
    path = tmp_path / "s"
    with open_store(path) as store:
        claim(store)
        store.write_fact("latency of b4", "0.25")
    content = path.read_bytes()
    places = [content.index(b"latency of b4"), content.rindex(b"latency of b4")]
    page = next(place for place in places if content[place + 13 : place + 17] != b"0.25")
    path.write_bytes(content[:page] + b"X" + content[page + 1 :])
    for settings in (None, SEARCH):
        with open_store(path, settings) as store:
            assert store.fact("latency of b4") == "0.25"


@pytest.mark.parametrize("statement", ["insert", "delete"])
def test_a_kill_between_statements_changes_nothing(tmp_path, monkeypatch, statement):
    """Facts that belong together are stored in one transaction: all or none."""
    path, run, seen = tmp_path / "s", Database.run, []

    def killed(self, text, *values):
        if text.startswith(statement) and statement in seen:
            raise KeyboardInterrupt
        seen.append(text.partition(" ")[0])
        return run(self, text, *values)

    other = config.override(SEARCH, ["folds.count=7"])
    with open_store(path) as store:
        store.add_candidates([Candidate("x", "X", config.Experiment(), 7, {"depth": 2.0})])
        monkeypatch.setattr(Database, "run", killed)
        if statement == "insert":
            with pytest.raises(KeyboardInterrupt):
                claim(store)
    if statement == "delete":
        seen[:] = []
        monkeypatch.setattr(Database, "repair", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            open_store(path, other)
    monkeypatch.undo()
    with open_store(path, None) as store:
        assert store.fact("config") == config.to_json(SEARCH)
        assert store.candidates() == {"x": {"depth": 2.0}}
        assert store.fact("images") is None
    with open_store(path) as store:
        claim(store)
        claim(store)


@pytest.mark.parametrize(
    "statement",
    [
        "update facts set value = replace(value, '10', '11') where name = 'config'",
        "update facts set name = 'cnfig' where name = 'config'",
        "update facts set name = 'imagez' where name = 'images'",
        "update facts set value = 'x' where name = 'images'",
        "alter table trials rename column epochs to epocs",
    ],
)
def test_a_file_that_lost_the_config_of_its_trials_is_an_error(tmp_path, statement):
    with open_store(tmp_path / "s") as store:
        claim(store)
        store.start(JOB)
    damage(tmp_path / "s", statement)
    with pytest.raises(UserError, match=r"damaged.*delete it and rerun the command"):
        open_store(tmp_path / "s")


def test_damaged_pages_are_an_error(tmp_path):
    path = tmp_path / "s"
    with open_store(path) as store:
        for fold in range(40):
            store.start(Job("x" * 50, fold, 0, 3))
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 5 * 4096 + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: damaged"):
        open_store(path)


def test_a_read_only_file_is_an_error(tmp_path):
    store = open_store(tmp_path / "s")
    store._file.run("pragma query_only = on")
    with pytest.raises(UserError, match=r"readonly database; see whether .* the file can be written"):
        store.start(JOB)
    store._file.run("pragma query_only = off")
    store.start(JOB)
    assert len(store.records()) == 1


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "docs" / "results").glob("*.sqlite")), ids=str)
def test_published_trials_are_undamaged(path: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """docs/scaling.md: a search continues from them."""
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    database = Database(copy, stores.TABLES, writable=True)
    assert all(database.rows(table.name) for table in stores.TABLES)
    database.close()
    assert not recwarn.list
