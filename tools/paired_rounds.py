"""The result of a comparison whose two sides ran in alternating rounds."""

import statistics
from collections.abc import Sequence


def row(comparison: str, ours: Sequence[float], theirs: Sequence[float], images: int) -> dict[str, object]:
    """Table row of a comparison. The ratio is our images/s over theirs: above 1, this package is faster."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "comparison": comparison,
        "ours, images/s": images / statistics.median(ours),
        "theirs, images/s": images / statistics.median(theirs),
        "ratio": middle,
        "quartiles": f"{low:.3f} to {high:.3f}",
        "rounds": len(ratios),
    }
