"""The golden counts of all families of networks."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def golden_counts() -> dict[str, Any]:
    """Parameters and multiply-adds of the published implementations: `classification` and `detection`, by name."""
    return json.loads(Path(__file__).with_name("golden_counts.json").read_text())
