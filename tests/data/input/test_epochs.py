"""Rows of epochs from any step on."""

import numpy as np
import pytest

from tfeff.data.input.epochs import rows_of_epochs


@pytest.mark.parametrize("shape", [(4,), (2, 4)])
@pytest.mark.parametrize("start_step", [0, 1, 2, 3, 5, 6, 9])
def test_a_start_at_any_step_gives_the_rest_of_the_batches(start_step: int, shape: tuple[int, ...]) -> None:
    def rows(epoch: int) -> np.ndarray:
        return np.random.default_rng(epoch).integers(0, 100, (3, *shape))

    whole = np.concatenate([rows(epoch) for epoch in range(3)])
    found = list(rows_of_epochs(rows, shape, 3, 3, start_step).as_numpy_iterator())
    np.testing.assert_array_equal(np.reshape(found, (-1, *shape)), whole[start_step:])
