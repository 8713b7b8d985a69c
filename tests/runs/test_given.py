"""Images that are given to a model."""

from typing import Any

import numpy as np
import pytest

from tests.runs.bright_squares import SquaresPredictor
from tfeff.errors import UserError
from tfeff.runs import given


@pytest.mark.parametrize("images", [[], np.zeros((0, 8, 8, 3), np.uint8)])
def test_an_error_if_there_are_no_images(images: Any) -> None:
    with pytest.raises(UserError, match="there are no images"):
        given.predict(SquaresPredictor(), given.listed(images), "error")
