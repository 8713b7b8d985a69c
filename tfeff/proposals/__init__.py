"""Region proposals: selective search, sliding windows, uniform boxes, and a store for the results."""

from tfeff.proposals.completion import complete
from tfeff.proposals.generation import GenerationCounts, Proposer, generate
from tfeff.proposals.opencv import OpenCVSelectiveSearch
from tfeff.proposals.proposals import Proposals
from tfeff.proposals.selective import SelectiveSearch, selective_search
from tfeff.proposals.store import ProposalStore
from tfeff.proposals.strategies import MODES, Mode, Strategy
from tfeff.proposals.windows import SlidingWindows, UniformBoxes

__all__ = [
    "MODES",
    "GenerationCounts",
    "Mode",
    "OpenCVSelectiveSearch",
    "ProposalStore",
    "Proposals",
    "Proposer",
    "SelectiveSearch",
    "SlidingWindows",
    "Strategy",
    "UniformBoxes",
    "complete",
    "generate",
    "selective_search",
]
