import math
import os
import signal
import subprocess
import sys
import time

import pytest

from tfeff.errors import UserError
from tfeff.execution import resources
from tfeff.execution.executor import collect
from tfeff.execution.local import LocalProcesses, on_all_cores, shared_directory


def gather(executor, count):
    outcomes, deadline = {}, time.monotonic() + 60
    while len(outcomes) < count:
        assert time.monotonic() < deadline
        outcomes |= {outcome.key: outcome for outcome in executor.wait(1.0)}
    return outcomes


@pytest.fixture
def processes(tmp_path):
    with LocalProcesses(2, tmp_path / "log") as executor:
        yield executor


def test_outcomes_have_the_keys_of_their_calls(processes):
    for number in range(7):
        processes.submit(number, math.factorial, number)
    outcomes = gather(processes, 7)
    assert {key: outcome.value for key, outcome in outcomes.items()} == {n: math.factorial(n) for n in range(7)}


def test_two_processes_run_all_calls(processes):
    for number in range(6):
        processes.submit(number, os.getpid)
    pids = {outcome.value for outcome in gather(processes, 6).values()}
    assert 1 <= len(pids) <= 2
    assert os.getpid() not in pids


def test_several_processes_share_a_folder_until_they_end(tmp_path):
    with LocalProcesses(2, tmp_path / "log") as executor:
        for number in range(2):
            executor.submit(number, shared_directory)
        first, second = (outcome.value for outcome in gather(executor, 2).values())
        assert first == second
        assert first.parent == tmp_path
        (first / "images").mkdir(parents=True)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_another_executor_with_the_same_log_leaves_the_folder(tmp_path):
    with LocalProcesses(2, tmp_path / "log") as executor:
        executor.submit(0, shared_directory)
        folder = gather(executor, 1)[0].value
        folder.mkdir()
        with LocalProcesses(1, tmp_path / "log") as other:
            other.submit(0, shared_directory)
            assert gather(other, 1)[0].value is None
        assert folder.is_dir()
    assert not folder.exists()


def test_a_process_alone_shares_nothing(tmp_path):
    with LocalProcesses(1, tmp_path / "missing" / "log") as executor:
        executor.submit(0, shared_directory)
        assert gather(executor, 1)[0].value is None
    assert shared_directory() is None


def test_an_exception_is_reported_and_retryable(processes):
    processes.submit("x", math.sqrt, -1.0)
    outcome = gather(processes, 1)["x"]
    assert "ValueError" in outcome.error
    assert outcome.retryable


def test_a_user_error_is_not_retryable(processes):
    processes.submit("x", exec, "from tfeff.errors import UserError\nraise UserError('no such thing')")
    outcome = gather(processes, 1)["x"]
    assert (outcome.error, outcome.retryable) == ("no such thing", False)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_process_is_reported_and_replaced(processes, number):
    processes.submit("lost", exec, f"import os; os.kill(os.getpid(), {int(number)})")
    processes.submit("kept", math.sqrt, 4.0)
    outcomes = gather(processes, 2)
    assert outcomes["lost"].retryable
    assert number.name in outcomes["lost"].error
    assert outcomes["kept"].value == 2.0
    for key in range(4):
        processes.submit(key, math.sqrt, 9.0)
    assert all(outcome.value == 3.0 for outcome in gather(processes, 4).values())


def test_collect_retries_a_call_whose_process_is_lost(processes, tmp_path):
    once = f"import os, pathlib; p = pathlib.Path({str(tmp_path / 'died')!r}); p.exists() or (p.touch(), os._exit(9))"
    assert collect(processes, {"a": (exec, once), "b": (math.sqrt, 4.0)}) == {"a": None, "b": 2.0}
    with pytest.raises(UserError, match="c failed: process exited with code 9"):
        collect(processes, {"c": (os._exit, 9)})


def test_processes_are_pinned_to_their_own_cores(processes):
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores and sched_getaffinity")
    processes.submit("a", exec, "import time; time.sleep(1)")
    processes.submit("b", os.sched_getaffinity, 0)
    other = gather(processes, 2)["b"].value
    assert other < os.sched_getaffinity(0)


def test_a_quota_pins_no_process(tmp_path, monkeypatch):
    """The processes of several containers would be pinned to the same cores."""
    if len(resources.visible_cores()) < 2:
        pytest.skip("needs two cores")
    monkeypatch.setattr(resources, "_control", lambda name: "100000 100000" if name == "cpu.max" else "")
    with LocalProcesses(2, tmp_path / "log") as executor:
        executor.submit("visible", resources.visible_cores)
        executor.submit("count", resources.cores)
        outcomes = gather(executor, 2)
        assert outcomes["visible"].value == resources.visible_cores()
        assert outcomes["count"].value == resources.cores() == 1


def test_a_process_counts_its_own_cores_or_those_of_all(processes):
    count = max(1, resources.cores() // 2)
    processes.submit("own", resources.cores)
    processes.submit("all", _cores_of_all)
    outcomes = gather(processes, 2)
    assert outcomes["own"].value in (count, resources.cores() - count)
    assert outcomes["all"].value == resources.cores()


def _cores_of_all():
    with on_all_cores():
        return resources.cores()


def test_idle_processes_end_on_release_and_busy_ones_go_on(processes):
    processes.submit("long", exec, "import time; time.sleep(2.0)")
    processes.submit("idle", os.getpid)
    idle = gather(processes, 1)["idle"].value
    processes.release()
    with pytest.raises(ProcessLookupError):
        os.kill(idle, 0)
    processes.submit("next", os.getpid)
    outcomes = gather(processes, 2)
    assert outcomes["long"].error is None
    assert outcomes["next"].value != idle


def test_workers_exit_with_their_parent(tmp_path):
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from tfeff.execution.local import LocalProcesses\n"
        "if __name__ == '__main__':\n"
        f"    executor = LocalProcesses(1, Path({str(tmp_path / 'log')!r}))\n"
        "    executor.submit('pid', os.getpid)\n"
        "    while not (ended := executor.wait(1.0)): pass\n"
        "    executor.submit('sleep', time.sleep, 600)\n"
        "    print(ended[0].value, flush=True)\n"
        "    time.sleep(600)\n"
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    parent = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while _runs(worker):
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.1)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_missing_ray_is_explained(monkeypatch):
    from tfeff.execution.cluster import RayCluster

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"tfeff\[ray\]"):
        RayCluster()
