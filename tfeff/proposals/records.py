"""Proposal methods: from a config's settings, and as JSON-ready records that exported detectors hold."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tfeff import config
from tfeff.proposals.baselines import SlidingWindows
from tfeff.proposals.generation import Proposer
from tfeff.proposals.selective import VERSION, SelectiveSearch

ENGINES: Mapping[str, type[SelectiveSearch] | type[SlidingWindows]] = {
    "selective_search": SelectiveSearch,
    "windows": SlidingWindows,
}


def method(settings: config.StoredProposals) -> SelectiveSearch | SlidingWindows:
    """Returns the proposal method of a section of a config."""
    match settings:
        case config.Windows():
            return SlidingWindows(settings.max_proposals, 0, settings.scales, settings.ratios, settings.overlap)
        case config.Proposals():
            return SelectiveSearch(settings.mode, settings.max_proposals)
    raise TypeError(f"no proposal method for {type(settings).__name__}")


def to_record(proposer: SelectiveSearch | SlidingWindows) -> dict[str, Any]:
    """Returns `engine`, one of ENGINES, its arguments, and the version of a selective search."""
    engine = next(name for name, kind in ENGINES.items() if isinstance(proposer, kind))
    version = {"version": VERSION} if isinstance(proposer, SelectiveSearch) else {}
    return {"engine": engine, **asdict(proposer), **version}


def from_record(record: Mapping[str, Any]) -> Proposer:
    """Returns the inverse of `to_record`. Warns if the version is another one, because the boxes then differ.

    Raises:
        KeyError, TypeError, ValueError: not such a record.
    """
    arguments = dict(record)
    kind = ENGINES[arguments.pop("engine")]
    version = arguments.pop("version", None)  # missing in records of version 1 and 2
    if kind is SelectiveSearch and version != VERSION:
        warnings.warn(
            f"this detector was exported with another version of selective search ({version or 'before 3'}; here "
            f"{VERSION}), so it gets other proposals than before; train it again if it has become worse",
            stacklevel=2,
        )
    return kind(**arguments)
