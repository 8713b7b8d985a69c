"""Region proposals: selective search, sliding windows, uniform boxes, and a store for the results."""

from tfeff.proposals.baselines import OpenCVSelectiveSearch, SlidingWindows, UniformBoxes
from tfeff.proposals.generation import GenerationCounts, Proposer, complete, generate
from tfeff.proposals.proposals import ProposedBoxes
from tfeff.proposals.selective import SelectiveSearch, selective_search
from tfeff.proposals.store import ProposalStore
from tfeff.proposals.strategies import MODES, Mode, Strategy

__all__ = [
    "MODES",
    "GenerationCounts",
    "Mode",
    "OpenCVSelectiveSearch",
    "ProposalStore",
    "ProposedBoxes",
    "Proposer",
    "SelectiveSearch",
    "SlidingWindows",
    "Strategy",
    "UniformBoxes",
    "complete",
    "generate",
    "selective_search",
]
