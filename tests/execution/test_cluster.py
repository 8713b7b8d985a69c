"""Calls on a Ray cluster of two nodes on this machine."""

import math
import subprocess
import sys
import time

import pytest

from tests.execution.test_local import gather
from tests.thoroughness import only_thorough
from tfeff.execution.cluster import RayCluster


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@only_thorough
def test_outcomes_are_those_of_local_processes_and_survive_the_loss_of_a_node(cluster, tmp_path):
    with RayCluster(cluster.address) as executor:
        assert (executor.slots, executor.local_slots) == (2, 1)
        for number in range(5):
            executor.submit(number, math.factorial, number)
        executor.submit("error", math.sqrt, -1.0)
        executor.submit("user", exec, "from tfeff.errors import UserError\nraise UserError('no such thing')")
        outcomes = gather(executor, 7)
        assert [outcomes[number].value for number in range(5)] == [1, 1, 2, 6, 24]
        assert "ValueError" in outcomes["error"].error
        assert outcomes["error"].retryable
        assert (outcomes["user"].error, outcomes["user"].retryable) == ("no such thing", False)

        # Each of two calls occupies a node until it is allowed to end.
        for name in ("one", "two"):
            code = (
                f"import pathlib, time\nroot = pathlib.Path({str(tmp_path)!r})\n(root / {name!r}).touch()\n"
                "while not (root / 'end').exists(): time.sleep(0.05)"
            )
            executor.submit(name, exec, code)
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
        ((lost, outcome),) = gather(executor, 1).items()
        assert lost in ("one", "two")
        assert outcome.retryable
        assert "lost" in outcome.error
        executor.submit("again", math.sqrt, 4.0)
        (tmp_path / "end").touch()
        outcomes = gather(executor, 2)
        assert outcomes.keys() == {"one", "two", "again"} - {lost}
        assert all(outcome.error is None for outcome in outcomes.values())
        assert outcomes["again"].value == 2.0


@only_thorough
def test_its_own_cluster_is_closed_to_others_and_reports_nothing():
    """In a process of its own; another one, without the token, tries to join."""
    pytest.importorskip("ray")
    code = """
import math, os, subprocess, sys
from tfeff.execution.cluster import RayCluster
with RayCluster() as cluster:
    import ray
    cluster.submit("six", math.factorial, 3)
    print(cluster.wait(60)[0].value, os.environ["RAY_USAGE_STATS_ENABLED"])
    join = f"import ray; ray.init('{ray.get_runtime_context().gcs_address}', logging_level='ERROR'); print('joined')"
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    for environment in (others, os.environ):
        done = subprocess.run([sys.executable, "-c", join], env=environment, capture_output=True, text=True)
        print("joined" in done.stdout, "Authentication" in done.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=500)
    lines = done.stdout.splitlines()
    assert lines[0] == "6 0", done.stdout + done.stderr
    assert lines[-2:] == ["False True", "True False"], done.stdout + done.stderr
