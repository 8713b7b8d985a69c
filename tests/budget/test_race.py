"""The race over folds: which candidates stay in it, and for how long."""

from tfeff.budget import race


def test_stages_grow_and_end_with_all_folds():
    blocks = [(fold, 0) for fold in range(5)]
    found = race.stages(blocks)
    assert [len(each) for each in found] == [1, 3, 5]
    assert found[-1] == blocks
    assert race.stages(blocks[:2]) == [blocks[:1], blocks[:2]]


def test_the_hopeless_are_dropped_with_a_reason():
    found = race.dropped({"good": 0.9, "fair": 0.05, "poor": 0.012}, 0.01, "3 folds")
    assert found == {"poor": "chance of being within 1 point of the best: 1.2 % after 3 folds"}


def test_the_time_of_earlier_calls_counts():
    saved = []
    watch = race.Stopwatch(100.0, saved.append)
    assert 100 <= watch.seconds < 101
    watch.save()
    assert 100 <= saved[-1] < 101


def test_the_time_is_stored_now_and_then(monkeypatch):
    clock, saved = [0.0], []
    monkeypatch.setattr(race.time, "monotonic", lambda: clock[0])
    watch = race.Stopwatch(100.0, saved.append)
    for clock[0] in (1.0, 9.0, 11.0, 12.0, 30.0):
        watch.tick()
    assert saved == [111.0, 130.0]
