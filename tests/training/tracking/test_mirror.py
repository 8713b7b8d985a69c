from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.tracking.small_run import SETTINGS
from tfeff import checked, config, training
from tfeff.errors import UserError
from tfeff.training.tracking import mirror, trackers
from tfeff.training.tracking.tracker import Tracker
from tfeff.training.workdir import Workdir


class Failing(Tracker):
    """Fails until `works`."""

    package = "json"
    works = False
    sent: list[tuple[int, Mapping[str, float]]]

    def __init__(self, directory: Path, run: str | None) -> None:
        self.run = run or "one"

    def settings(self, values: Mapping[str, Any]) -> None:
        pass

    def tags(self, values: Mapping[str, str]) -> None:
        pass

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        if not Failing.works:
            raise OSError("no route to host")
        Failing.sent.append((step, values))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        pass

    def files(self, paths: Iterable[Path], kind: str) -> None:
        pass

    def close(self, *, finished: bool) -> None:
        pass


@pytest.mark.slow
def test_what_a_tracker_missed_is_sent_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trackers, "TRACKERS", {"failing": Failing})
    monkeypatch.setattr(Failing, "sent", [], raising=False)
    workdir = training.train(SETTINGS, tmp_path, trackers=["failing"])
    assert "failing failed" in caplog.text
    assert "no route to host" in caplog.text
    assert len(workdir.rows()) == 2
    monkeypatch.setattr(Failing, "works", True)
    training.finish_tracking(workdir)
    training.finish_tracking(workdir)
    steps = [row["step"] for row in workdir.rows()]
    assert [step for step, _ in Failing.sent] == [*steps, steps[-1]]  # the second call had nothing to send


def test_a_finished_run_is_sent_to_a_tracker_that_is_named_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "TRACKERS", {"failing": Failing})
    monkeypatch.setattr(Failing, "sent", [], raising=False)
    monkeypatch.setattr(Failing, "works", True)
    workdir = training.train(SETTINGS, tmp_path)
    training.finish_tracking(workdir, ["failing"])
    assert [step for step, _ in Failing.sent] == [*(row["step"] for row in workdir.rows()), workdir.rows()[-1]["step"]]
    training.finish_tracking(workdir, ["failing"])
    assert len(Failing.sent) == len(workdir.rows()) + 1


def test_the_weights_are_read_once_and_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "TRACKERS", {"one": Failing, "two": Failing})
    monkeypatch.setattr(Failing, "sent", [], raising=False)
    monkeypatch.setattr(Failing, "works", True)
    workdir = training.train(SETTINGS, tmp_path, trackers=["one", "two"])
    read, file_crc32 = list[Path](), checked.file_crc32
    monkeypatch.setattr(checked, "file_crc32", lambda path: read.append(path) or file_crc32(path))
    training.finish_tracking(workdir)
    assert read == [workdir.final]


def test_an_epoch_is_sent_without_reading_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "TRACKERS", {"failing": Failing})
    monkeypatch.setattr(Failing, "sent", [], raising=False)
    monkeypatch.setattr(Failing, "works", True)
    loop: Any = SimpleNamespace(workdir=training.train(SETTINGS, tmp_path, until_epoch=1, trackers=["failing"]))
    hook = mirror.Tracking([])
    hook.start(loop)
    for name in ("rows", "config", "provenance"):
        monkeypatch.delattr(Workdir, name)
    hook.epoch(loop, {"epoch": 2, "step": 6, "loss": 0.5})
    assert [step for step, _ in Failing.sent] == [3, 6]


@pytest.mark.slow
def test_a_tracker_of_an_earlier_call_that_is_gone_does_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Gone(Failing):
        def __init__(self, directory: Path, run: str | None) -> None:
            raise RuntimeError("token expired")

    monkeypatch.setattr(trackers, "TRACKERS", {"failing": Failing})
    training.train(SETTINGS, tmp_path, until_epoch=1, trackers=["failing"])
    monkeypatch.setattr(trackers, "TRACKERS", {"failing": Gone})
    assert len(training.train(SETTINGS, tmp_path).rows()) == 2
    assert "token expired" in caplog.text
    with pytest.raises(UserError, match="token expired; correct this, or leave --track out"):
        mirror.Mirror(Workdir(tmp_path / "new"), ["failing"])


def test_settings_that_a_tracker_missed_are_sent_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got = list[str]()

    class Late(Failing):
        def settings(self, values: Mapping[str, Any]) -> None:
            if not Failing.works:
                raise OSError("no route to host")
            got.append(values["model.name"])

    monkeypatch.setattr(trackers, "TRACKERS", {"failing": Late})
    monkeypatch.setattr(Failing, "sent", [], raising=False)
    workdir = training.train(SETTINGS, tmp_path, trackers=["failing"])
    monkeypatch.setattr(Failing, "works", True)
    training.finish_tracking(workdir)
    assert got == ["resnet"]


@pytest.mark.slow
def test_a_run_that_continues_with_other_settings_sends_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got, calls = list[int](), list[str]()

    class Noting(Failing):
        def settings(self, values: Mapping[str, Any]) -> None:
            got.append(values["training.epochs"])

        def tags(self, values: Mapping[str, str]) -> None:
            calls.append(values["provenance.started"])

    monkeypatch.setattr(trackers, "TRACKERS", {"noting": Noting})
    monkeypatch.setattr(Failing, "sent", [], raising=False)
    monkeypatch.setattr(Failing, "works", True)
    for settings, until_epoch in ((SETTINGS, 1), (SETTINGS, 2), (config.override(SETTINGS, ["training.epochs=3"]), 3)):
        workdir = training.train(settings, tmp_path, until_epoch=until_epoch, choices={}, trackers=["noting"])
    assert got == [2, 3]
    assert calls == [workdir.provenance()["calls"][call]["started"] for call in (0, 2)]
    assert [step for step, _ in Failing.sent] == [row["step"] for row in workdir.rows()]


@pytest.mark.parametrize(("name", "message"), [("mlflo", "mlflow"), ("absent", "pip install")])
def test_trackers_that_cannot_be_used_are_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent(Failing):
        package = "a_package_that_nobody_has"

    monkeypatch.setattr(trackers, "TRACKERS", {"mlflow": Failing, "absent": Absent})
    with pytest.raises(UserError, match=message):
        training.check_trackers([name])
