"""How the scores of a class separate its examples from all others, at every threshold."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OneVersusRest:
    """Examples of a class against all others. Point i predicts the class from a score of `thresholds[i]` on.

    Attributes:
        thresholds: float64 [m], the different scores of the examples of the class, rising; other thresholds have no
            higher precision at the same recall.
        precision: float64 [m], correct predictions / predictions.
        recall: float64 [m], correct predictions / examples of the class, falling from 1.
        roc_auc: area under the ROC curve: the probability that an example of the class scores higher than another one,
            where equal scores count half. NaN without examples of one of both kinds.
        average_precision: mean precision over the examples of the class, each at its own score, without interpolation;
            NaN without examples of the class.
    """

    thresholds: Floats
    precision: Floats
    recall: Floats
    roc_auc: float
    average_precision: float


def one_versus_rest(scores: npt.NDArray[np.floating], own: npt.NDArray[np.int64]) -> OneVersusRest:
    """Measures how scores separate the examples of a class from all others.

    Args:
        scores: float [n], scores of the class.
        own: int64 [k], indices of the examples of the class.

    >>> found = one_versus_rest(np.array([0.9, 0.6, 0.6, 0.1]), np.array([0, 2]))
    >>> found.roc_auc, round(found.average_precision, 3)
    (0.875, 0.833)
    """
    values, counts = np.unique(scores[own], return_counts=True)
    ordered, positives, negatives = np.sort(scores), len(own), len(scores) - len(own)
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    correct = np.cumsum(counts[::-1])[::-1]
    lower = below - (positives - correct)  # negatives
    equal = up_to - below - counts
    precision = correct / (len(scores) - below)
    won = float(counts @ (lower + equal / 2))
    return OneVersusRest(
        thresholds=values.astype(np.float64),
        precision=precision,
        recall=correct / max(positives, 1),
        roc_auc=won / (positives * negatives) if positives and negatives else np.nan,
        average_precision=float(counts @ precision) / positives if positives else np.nan,
    )
