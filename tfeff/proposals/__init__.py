"""Region proposals: selective search, sliding windows and chance; and the store that keeps them."""

from tfeff.proposals.fill import Filled, Proposer, fill
from tfeff.proposals.opencv import OpenCVSelectiveSearch
from tfeff.proposals.proposals import Proposals
from tfeff.proposals.selective import SelectiveSearch, selective_search
from tfeff.proposals.store import ProposalStore
from tfeff.proposals.strategies import MODES, Mode, Strategy
from tfeff.proposals.windows import SlidingWindows, UniformBoxes

__all__ = [
    "MODES",
    "Filled",
    "Mode",
    "OpenCVSelectiveSearch",
    "ProposalStore",
    "Proposals",
    "Proposer",
    "SelectiveSearch",
    "SlidingWindows",
    "Strategy",
    "UniformBoxes",
    "fill",
    "selective_search",
]
