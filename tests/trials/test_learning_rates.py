"""Which learning rates are tried for a network, and which is chosen."""

import pytest

from tfeff import config
from tfeff.trials.learning_rates import RateCall, RateSearch
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate

AT_1 = config.Experiment(optimizer=config.Optimizer(learning_rate=1.0))


@pytest.fixture
def open_search(tmp_path):
    stores = []

    def open_(rule="held_out", name="a"):
        stores.append(TrialStore(tmp_path / "trials.sqlite", config.Search(), ("trials.",)))
        return RateSearch(rule, Candidate(name, name, AT_1, macs=1), stores[-1], attempts=3)

    yield open_
    for store in stores:
        store.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("best", "tried"),
    [
        (1.0, [1 / 3, 1, 3]),
        (9.0, [1 / 3, 1, 3, 9, 27]),  # beyond the first three, until a higher rate is worse
        (81.0, [1 / 3, 1, 3, 9, 27]),  # at most five
        (1 / 9, [1 / 27, 1 / 9, 1 / 3, 1, 3]),
    ],
)
@pytest.mark.parametrize("last_first", [False, True])
def test_rates_are_tried_until_the_best_is_in_the_middle(open_search, best, tried, last_first):
    counts = []
    while waiting := open_search().waiting:  # everything is known to the store alone
        counts.append(open_search().most_waiting)
        assert open_search().rate is None
        for call in reversed(waiting) if last_first else waiting:
            open_search().add(call, -abs(call.rate - best) / (call.rate + best))
    assert sorted(rate for rate, _ in open_search().tried) == pytest.approx(tried)
    assert open_search().rate == pytest.approx(min(best, 27))
    assert counts == [5, 2, 1][: len(counts)]
    assert open_search().most_waiting == 0


def test_a_rate_in_hand_is_not_tried_again(open_search):
    search = open_search()
    search.add(RateCall("a", 3.0), 0.5)
    assert open_search().waiting == [RateCall("a", 1.0), RateCall("a", 1 / 3)]
    assert open_search().most_waiting == 4
    assert open_search(name="b").tried == []


def test_rates_that_diverge_are_not_chosen(open_search):
    search = open_search()
    for call, value in zip(reversed(search.waiting), (None, 0.5, 0.5), strict=True):
        search.add(call, value)
    assert search.tried == [(1.0, 0.5), (1 / 3, 0.5), (3.0, None)]
    assert search.rate == 1.0  # of equal ones the nearest to the middle


def test_a_network_that_diverges_at_all_rates_has_none(open_search):
    search = open_search()
    for call in search.waiting:
        assert search.failure is None
        search.add(call, None)
    assert search.rate is None
    assert search.waiting == []
    assert search.failure == "no learning rate was found: the training diverged at 1, 0.33, 3"


def test_the_first_cause_of_a_failure_remains(open_search):
    search = open_search()
    calls = search.waiting
    search.fail("killed by SIGKILL")
    for call in calls:  # they ended later
        search.add(call, None)
    search.fail("no such file")
    assert search.failure == "no learning rate was found: killed by SIGKILL"
    assert (search.rate, search.waiting) == (None, [])


def test_a_range_test_gives_the_rate(open_search):
    search = open_search("range_test")
    assert search.waiting == [RateCall("a")]
    search.add(RateCall("a"), 0.125)
    assert (search.waiting, search.rate, search.most_waiting) == ([], 0.125, 0)
    assert (open_search("range_test").rate, search.tried, search.failure) == (0.125, [], None)
