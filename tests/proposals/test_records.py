import json

import pytest

from tfeff import config
from tfeff.proposals import SelectiveSearch, SlidingWindows
from tfeff.proposals.records import from_record, selective_search, to_record


@pytest.mark.parametrize("proposer", [SelectiveSearch("single", 30, 2), SlidingWindows(50, 1, (0.5, 0.2), (1.0, 2.0))])
def test_a_record_survives_json(proposer: SelectiveSearch | SlidingWindows) -> None:
    again = from_record(json.loads(json.dumps(to_record(proposer))))
    assert type(again) is type(proposer)
    assert again.parameters == proposer.parameters


def test_settings_become_selective_search() -> None:
    assert selective_search(config.SharedProposals(mode="quality", max_proposals=7)) == SelectiveSearch("quality", 7, 0)
