import json

import pytest

from tfeff import config
from tfeff.proposals import SelectiveSearch, SlidingWindows
from tfeff.proposals.records import from_record, method, to_record


@pytest.mark.parametrize("proposer", [SelectiveSearch("single", 30, 2), SlidingWindows(50, 1, (0.5, 0.2), (1.0, 2.0))])
def test_a_record_survives_json(proposer: SelectiveSearch | SlidingWindows) -> None:
    again = from_record(json.loads(json.dumps(to_record(proposer))))
    assert type(again) is type(proposer)
    assert again.parameters == proposer.parameters


@pytest.mark.parametrize("version", [2, None])
def test_another_version_of_the_engine_is_named(version: int | None) -> None:
    record = {**to_record(SelectiveSearch()), "version": version}
    with pytest.warns(UserWarning, match=f"selective search \\({version or 'before 3'}; here 3\\)"):
        assert from_record(record) == SelectiveSearch()


def test_settings_become_selective_search() -> None:
    assert method(config.SharedProposals(mode="quality", max_proposals=7)) == SelectiveSearch("quality", 7, 0)
