"""How thorough the tests are: the environment variable `TFEFF_THOROUGH`, a number, by default 0.

At 0, tests cover each code path once. At n > 0, all networks are compared, processes are killed n times, n random
networks are built per architecture, and tests that take minutes run too.
"""

import os

import pytest

THOROUGH = int(os.environ.get("TFEFF_THOROUGH", "0"))

only_thorough = pytest.mark.skipif(not THOROUGH, reason="takes long; set TFEFF_THOROUGH=1")


def thorough(*values: object) -> object:
    """Returns a value of `pytest.mark.parametrize` that is tested only if tests are thorough."""
    return pytest.param(*values, marks=only_thorough)
