"""An exported model or a published network, loaded to predict."""

from pathlib import Path
from typing import Any, Unpack

from tfeff.errors import in_python
from tfeff.runs import given
from tfeff.runs.predictors import Options, load_predictor
from tfeff.runs.results import Prediction


class LoadedModel:
    """A model that predicts for images.

    Attributes:
        path: an exported model of any format but `keras`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loaded = dict[Path, Any]()
        load_predictor(path, loaded=self._loaded)  # reports a damaged model now

    def __repr__(self) -> str:
        return f'tfeff.load("{self.path}")'

    @in_python()
    def predict(
        self,
        images: given.Images,
        *,
        batch_size: int = 32,
        corrupt_images: given.Corrupt = "error",
        **options: Unpack[Options],
    ) -> list[Prediction]:
        """Predicts for images of any size; arguments but `runtime`, result and errors as those of `Run.predict`."""
        given.check_corrupt(corrupt_images)
        predictor = load_predictor(self.path, batch_size=batch_size, loaded=self._loaded, **options)
        return given.predict(predictor, given.listed(images), corrupt_images)
