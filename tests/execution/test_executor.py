import errno
import threading
import time

import pytest

from tfeff.errors import BusyError, UserError
from tfeff.execution import resources
from tfeff.execution.executor import DISK_FULL, Threads, collect


def gather(executor, count):
    """Returns the first `count` outcomes, in order of arrival."""
    outcomes, deadline = [], time.monotonic() + 60
    while len(outcomes) < count:
        assert time.monotonic() < deadline
        outcomes += executor.wait(1.0)
    return outcomes


def fail(error):
    raise error


def test_outcomes_have_the_keys_and_values_of_their_calls():
    with Threads(3) as threads:
        for number in range(50):
            threads.submit(number, pow, number, 2)
        outcomes = gather(threads, 50)
        assert threads.wait(0.0) == []
    assert {outcome.key: outcome.value for outcome in outcomes} == {number: number**2 for number in range(50)}
    assert not any(outcome.error or outcome.retryable for outcome in outcomes)


def test_outcomes_arrive_in_the_order_in_which_calls_end():
    gates = [threading.Event() for _ in range(4)]
    with Threads(4) as threads:
        for number, gate in enumerate(gates):
            threads.submit(number, gate.wait, 60)
        for number in (2, 0, 3, 1):
            assert threads.wait(0.0) == []
            gates[number].set()
            assert [outcome.key for outcome in gather(threads, 1)] == [number]


def test_one_thread_runs_calls_in_order():
    with Threads(1) as threads:
        for number in range(20):
            threads.submit(number, str, number)
        assert [outcome.key for outcome in gather(threads, 20)] == list(range(20))


def test_all_slots_run_concurrently():
    barrier = threading.Barrier(3)
    with Threads(3) as threads:
        assert threads.slots == 3
        for number in range(3):
            threads.submit(number, barrier.wait, 60)  # fails unless three calls run at once
        assert all(outcome.error is None for outcome in gather(threads, 3))


def test_the_default_is_one_thread_per_core(monkeypatch):
    monkeypatch.setattr(resources, "cores", lambda: 3)
    with Threads() as threads:
        assert threads.slots == 3


@pytest.mark.parametrize(
    ("error", "message", "retryable"),
    [
        (UserError("a.jpg: not an image"), "a.jpg: not an image", False),
        (BusyError("another process has it"), "another process has it", True),
        (OSError(errno.ENOSPC, "No space left on device"), DISK_FULL, False),
        (ValueError("first line\nsecond line"), "ValueError: first line", True),
        (MemoryError(), "MemoryError: ", True),
        (SystemExit(3), "SystemExit: 3", True),
    ],
)
def test_an_error_is_reported_and_its_thread_continues(error, message, retryable):
    with Threads(1) as threads:
        threads.submit("bad", fail, error)
        threads.submit("good", len, "abc")
        bad, good = gather(threads, 2)
    assert (bad.key, bad.value, bad.error, bad.retryable) == ("bad", None, message, retryable)
    assert (good.key, good.value, good.error) == ("good", 3, None)


def test_collect_leaves_no_call_running_when_one_fails():
    ended = []

    def slow():
        time.sleep(0.3)
        ended.append("slow")

    with Threads(2) as threads:
        with pytest.raises(UserError, match="bad failed: no"):
            collect(threads, {"bad": (fail, UserError("no")), "slow": (slow,), "queued": (ended.append, "queued")})
        assert sorted(ended) == ["queued", "slow"]
        assert threads.wait(0.0) == []


def test_exit_waits_for_running_calls_and_drops_queued_ones():
    started, gate, ended = threading.Event(), threading.Event(), []

    def slow(number):
        started.set()
        gate.wait(60)
        ended.append(number)

    before = threading.active_count()
    with Threads(1) as threads:
        for number in range(5):
            threads.submit(number, slow, number)
        started.wait(60)
        threading.Timer(0.2, gate.set).start()
    assert ended == [0]
    deadline = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_exit_does_not_suppress_exceptions():
    threads = Threads(2)
    threads.submit("x", threading.get_ident)
    with pytest.raises(ZeroDivisionError), threads:
        raise ZeroDivisionError
