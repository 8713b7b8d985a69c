"""Proposal methods: from a config's settings, and as JSON-ready records that exported detectors hold."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tfeff import config
from tfeff.proposals.generation import Proposer
from tfeff.proposals.selective import SelectiveSearch
from tfeff.proposals.windows import SlidingWindows

ENGINES: Mapping[str, type[SelectiveSearch] | type[SlidingWindows]] = {
    "selective_search": SelectiveSearch,
    "windows": SlidingWindows,
}


def selective_search(settings: config.Proposals, seed: int = 0) -> SelectiveSearch:
    """The proposal method of a run."""
    return SelectiveSearch(settings.mode, settings.max_proposals, seed)


def to_record(proposer: SelectiveSearch | SlidingWindows) -> dict[str, Any]:
    """`engine`, one of ENGINES, and its arguments."""
    engine = next(name for name, kind in ENGINES.items() if isinstance(proposer, kind))
    return {"engine": engine, **asdict(proposer)}


def from_record(record: Mapping[str, Any]) -> Proposer:
    """The inverse of `to_record`.

    Raises:
        KeyError, TypeError, ValueError: not such a record.
    """
    arguments = dict(record)
    return ENGINES[arguments.pop("engine")](**arguments)
