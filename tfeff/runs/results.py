"""What a run returns: predictions for images, to read, to plot, to save; and the evaluation on a split."""

import base64
import html
import importlib
import io
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfeff.data.images import decoding
from tfeff.reporting import figure
from tfeff.reporting.box_drawing import draw_detections
from tfeff.reporting.tables import percent
from tfeff.runs.gallery import UNKNOWN

Row = dict[str, Any]
"""A prediction as plain values, JSON-serializable."""
TOP = 5
"""Classes listed for each image."""
WIDTH, TITLE = 4.0, 0.3
"""Width of a plot and height of its title, in inches."""


@dataclass(frozen=True, eq=False)
class Prediction(ABC):
    """What a model predicts for one image.

    Attributes:
        name: name of the image: its path, or its number among arrays.
        source: where the image is: its pixels, the bytes of its file, or its file.
        dark: whether the image is nearly black, so that little can be predicted for it.
    """

    name: str
    class_names: tuple[str, ...]
    source: np.ndarray | bytes | Path = field(repr=False)
    dark: bool = field(default=False, kw_only=True)

    @property
    def image(self) -> np.ndarray:
        """The image, uint8 [height, width, 3]; decoded at each call if it is a file."""
        if isinstance(self.source, np.ndarray):
            return self.source
        encoded = self.source.read_bytes() if isinstance(self.source, Path) else self.source
        return decoding.decode(encoded, self.name)

    @property
    @abstractmethod
    def row(self) -> Row:
        """All but the image and its name, as plain values."""

    @abstractmethod
    def caption(self) -> str:
        """Returns the prediction in a few words."""

    def draw(self) -> np.ndarray:
        """Returns the image with what was found in it, uint8 [height, width, 3]."""
        return self.image

    def to_dict(self) -> Row:
        """Returns the prediction as plain values, with `image`, the name of the image."""
        return {"image": self.name, **self.row}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the image with the prediction.

        Args:
            ax: where to draw. None: on a new figure, `plot().figure`, which a notebook shows at once.
        """
        if ax is not None:
            return self._draw_on(ax, self.draw())
        axes = self._drawn()
        _show(axes)
        return axes

    def _drawn(self) -> Axes:
        """Returns the plot on a new figure."""
        picture = self.draw()
        height, width = picture.shape[:2]
        return self._draw_on(figure.new(WIDTH, WIDTH * height / width + TITLE).add_subplot(), picture)

    def _draw_on(self, axes: Axes, picture: np.ndarray) -> Axes:
        axes.imshow(picture)
        axes.set_axis_off()
        axes.set_title(figure.caption(self.caption(), 60), fontsize=10)
        return axes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name}: {self.caption()}>"

    def _repr_png_(self) -> bytes:
        return _png(self._drawn().get_figure(root=True))


@dataclass(frozen=True, eq=False, repr=False)
class Classification(Prediction):
    """The classes of one image: probabilities, float32 [classes], in the order of `class_names`."""

    probabilities: np.ndarray

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top(1)[0][0]

    @property
    def probability(self) -> float:
        """The probability of `label`."""
        return self.top(1)[0][1]

    def top(self, k: int = TOP) -> list[tuple[str, float]]:
        """Returns the k most probable classes, with their probabilities."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.class_names[index], float(self.probabilities[index])) for index in order]

    @property
    def row(self) -> Row:
        """`label`, `probability`, and `top`, the five most probable classes."""
        return {"label": self.label, "probability": self.probability, "top": self.top()}

    def caption(self) -> str:
        """See `Prediction`."""
        return f"{self.label} ({percent(self.probability)})"


@dataclass(frozen=True, eq=False, repr=False)
class Localization(Classification):
    """The class and the box, float32 [4] in pixels of the image, of the one object in an image."""

    box_yxyx: np.ndarray

    @property
    def row(self) -> Row:
        """The row of a `Classification`, and `box_yxyx`."""
        return super().row | {"box_yxyx": self.box_yxyx.tolist()}

    def draw(self) -> np.ndarray:
        """See `Prediction`."""
        return draw_detections(self.image, [self.box_yxyx], [self.label], [self.probability])


@dataclass(frozen=True, eq=False, repr=False)
class Embedding(Prediction):
    """The vector of one image, float32 [dimension], of length 1. The dot product of two is their cosine similarity."""

    vector: np.ndarray

    @property
    def row(self) -> Row:
        """`vector`."""
        return {"vector": self.vector.tolist()}

    def caption(self) -> str:
        """See `Prediction`."""
        return f"a vector of {len(self.vector):,} numbers"


@dataclass(frozen=True, eq=False, repr=False)
class Recognition(Embedding):
    """The class of one image in a gallery.

    Attributes:
        class_names: the gallery's class names.
        similarities: float32 [classes], cosine similarities to the classes.
        threshold: minimum similarity of a known class; None: there is none.
    """

    similarities: np.ndarray
    threshold: float | None = None

    @property
    def label(self) -> str:
        """The most similar class, or `unknown`."""
        name, similarity = self.top(1)[0]
        return name if self.threshold is None or similarity >= self.threshold else UNKNOWN

    @property
    def similarity(self) -> float:
        """The similarity to the most similar class."""
        return self.top(1)[0][1]

    def top(self, k: int = TOP) -> list[tuple[str, float]]:
        """Returns the k most similar classes, with their similarities."""
        order = np.argsort(-self.similarities, kind="stable")[:k]
        return [(self.class_names[index], float(self.similarities[index])) for index in order]

    @property
    def row(self) -> Row:
        """`label`, `similarity`, and `top`, the five most similar classes."""
        return {"label": self.label, "similarity": self.similarity, "top": self.top()}

    def caption(self) -> str:
        """See `Prediction`."""
        return f"{self.label} {self.similarity:.2f}"


@dataclass(frozen=True, eq=False, repr=False)
class Detection(Prediction):
    """The m objects found in one image, the highest score first.

    Attributes:
        boxes_yxyx: float32 [m, 4], in pixels of the image.
        labels: int32 [m], indices into `class_names`.
        scores: float32 [m].
    """

    boxes_yxyx: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> list[str]:
        """The class of each object."""
        return [self.class_names[label] for label in self.labels]

    @property
    def row(self) -> Row:
        """`labels`, `classes`, `scores` and `boxes_yxyx`."""
        return {
            "labels": self.labels.tolist(),
            "classes": self.classes,
            "scores": self.scores.tolist(),
            "boxes_yxyx": self.boxes_yxyx.tolist(),
        }

    def caption(self) -> str:
        """See `Prediction`."""
        counts = {name: self.classes.count(name) for name in dict.fromkeys(self.classes)}
        return ", ".join(f"{count} {name}" for name, count in counts.items()) or "no objects"

    def draw(self) -> np.ndarray:
        """See `Prediction`."""
        return draw_detections(self.image, self.boxes_yxyx, self.classes, self.scores)


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationResult:
    """An evaluation, for people and for programs. `print` shows its tables."""

    split: str
    text: str
    report: dict[str, Any]
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def to_text(self) -> str:
        """Returns tables for the terminal and the paths of the written files."""
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Returns all results."""
        return self.report

    def to_json(self) -> str:
        """Returns all results as JSON."""
        return json.dumps(self.report, indent=2)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<EvaluationResult on {self.split}; figures: {', '.join(self.figures) or 'none'}>"

    def _repr_html_(self) -> str:
        """Returns the tables and all figures."""
        pictures = [
            f'<img src="data:image/png;base64,{base64.b64encode(_png(drawn, dpi=80)).decode()}">'
            for drawn in self.figures.values()
        ]
        return "".join([f"<pre>{html.escape(self.text)}</pre>", *pictures])


def _png(drawn: Figure | None, dpi: int = 100) -> bytes:
    assert drawn is not None
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=dpi)
    return file.getvalue()


def _show(axes: Axes) -> None:
    """Shows a plot if this is a notebook; figures without pyplot do not show themselves."""
    python = sys.modules.get("IPython")
    shell = python and python.get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        display = importlib.import_module("IPython.display")
        display.display(display.Image(_png(axes.get_figure(root=True))))
