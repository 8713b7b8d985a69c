"""Costs of networks in the exported form: estimated for all, measured for some."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tfeff import config
from tfeff.budget.candidates import Network
from tfeff.budget.limits import Costs
from tfeff.trials.store import TrialStore


class Exports:
    """Estimates and measures the costs of networks in the exported form.

    Args:
        settings: the config.
        store: keeps what was measured.
        say: shows a line.
    """

    def __init__(self, settings: config.BudgetSearch, store: TrialStore, say: Callable[[str], None]) -> None:
        self._settings, self._store, self._say = settings, store, say

    def estimated(self, networks: Sequence[Network]) -> list[Costs]:
        """Latency and size of networks, as far as the budget bounds them, without exporting all of them."""
        return [{} for _ in networks]

    def network(self, network: Network) -> Costs:
        """Latency and size of a network with random weights, exported for this."""
        return {}

    def exported(self, path: Path) -> Costs:
        """Latency and size of an exported model."""
        return {}
