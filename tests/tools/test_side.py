"""How a side of PyTorch chooses the way in which it runs."""

from types import SimpleNamespace

import pytest


@pytest.mark.parametrize("fastest", [("contiguous", True), ("channels last", False)])
def test_the_fastest_way_runs_without_what_was_compiled_for_others(import_tool, monkeypatch, fastest):
    sides = import_tool("side")
    now, events = [0.0], []
    torch = SimpleNamespace(
        contiguous_format="contiguous",
        channels_last="channels last",
        manual_seed=lambda seed: events.append("seed"),
        _dynamo=SimpleNamespace(reset=lambda: events.append("reset")),
    )

    def build(memory_format, *, compiled):
        way = memory_format, compiled
        events.append(way)

        def step():
            now[0] += 1.0 if way == fastest else 2.0
            return way

        return step

    monkeypatch.setattr(sides.time, "perf_counter", lambda: now[0])
    assert sides.fastest_way(build, torch)() == fastest
    ways = [("contiguous", False), ("contiguous", True), ("channels last", False), ("channels last", True), fastest]
    assert events == [event for way in ways for event in ("reset", "seed", way)]
