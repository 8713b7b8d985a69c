"""Tables of `compare_inheritance`'s results: means and 95 % t-intervals over seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from inheritance_jobs import COSTS, DATA, WAYS
from scipy import stats

from tfeff.reporting.tables import UNDEFINED, markdown

Records = Mapping[tuple[str, str, str, str], Mapping[str, Any]]
VARIANTS = ("", "recomputed", "frozen", "recomputed+frozen", "momentum0.9")


def tables(results: Iterable[Mapping[str, Any]]) -> str:
    """Returns Markdown of all results that are there."""
    results = [each for each in results if "accuracy" in each]
    found = {
        (each["data"], each["network"], each["start"], each["variant"]): each
        for each in results
        if not each["held_out"]
    }
    sections = [("Schedules, chosen on held-out training images", _tuning(results))]
    for data in DATA:
        sections += [
            (f"{data}: smaller than Lite0", _down(found, data)),
            (f"{data}: from Lite2 to the costs of Lite1 and Lite0", _from_lite2(found, data)),
            (f"{data}: larger than Lite0", _up(found, data)),
            (f"{data}: batch statistics", _statistics(found, data)),
        ]
    return "\n\n".join(f"# {title}\n\n{markdown(rows)}" for title, each in sections if (rows := list(each)))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and half of the 95 % t-interval; infinite for one value."""
    array = np.asarray(values, float)
    if len(array) < 2:
        return float(array.mean()), math.inf
    return float(array.mean()), float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))


def kept(part: Sequence[float], full: Sequence[float], none: Sequence[float]) -> tuple[float, float]:
    """Returns the share of the distance from `none` to `full` that `part` reaches, and half of its interval.

    The interval is by the delta method.

    All are accuracies of the same seeds.
    """
    a, f, r = (np.asarray(each, float) for each in (part, full, none))
    distance = f.mean() - r.mean()
    share = (a.mean() - r.mean()) / distance
    return float(share), interval((a - r - share * (f - r)) / distance)[1]


def _shown(mean: float, half: float) -> str:
    return f"{100 * mean:.1f}" if math.isinf(half) else f"{100 * mean:.1f} ± {100 * half:.1f}"


def _accuracy(record: Mapping[str, Any] | None) -> str:
    return _shown(*interval(record["accuracy"])) if record else UNDEFINED


def _difference(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    """Returns the difference, paired over seeds."""
    if one is None or other is None or len(one["accuracy"]) != len(other["accuracy"]):
        return UNDEFINED
    return _shown(*interval(np.subtract(one["accuracy"], other["accuracy"])))


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    probe = record.get("probe")
    return {
        "Mmacs": round(record["macs"] / 1e6, 1),
        "accuracy, %": _accuracy(record),
        "probe, %": UNDEFINED if probe is None else f"{100 * probe:.1f}",
    }


def _tuning(results: Sequence[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for each in results:
        if each["held_out"]:
            for rate in dict.fromkeys(lane[0] for lane in each["lanes"]):
                of = [value for lane, value in zip(each["lanes"], each["accuracy"], strict=True) if lane[0] == rate]
                yield {
                    "network": each["network"],
                    "start": each["start"],
                    "epochs": each["epochs"],
                    "rate": rate,
                    "held-out accuracy, %": f"{100 * np.mean(of):.1f}",
                }


def _down(found: Records, data: str) -> Iterable[dict[str, Any]]:
    """Yields rows of the share that is kept, measured from random weights of the same cost.

    The random network is scaled the same way or, if there is none, by all three dimensions.
    """
    full = found.get((data, "lite0", "inherited", ""))
    for cost in (1, *sorted(COSTS, reverse=True)):
        for way in WAYS if cost != 1 else ("",):
            network = f"lite0-{cost}-{way}" if way else "lite0"
            one, other = found.get((data, network, "inherited", "")), found.get((data, network, "random", ""))
            if one is None and other is None:
                continue
            record = one or other
            assert record is not None
            none = other or found.get((data, f"lite0-{cost}-compound", "random", ""))
            share = UNDEFINED
            if one and full and none:
                share = _shown(*kept(one["accuracy"], full["accuracy"], none["accuracy"]))
            yield {
                "cost": record["macs"] / full["macs"] if full else cost,
                "way": way or "full",
                **_row(record),
                "accuracy, %": _accuracy(one),
                "random, %": _accuracy(other),
                "inherited - random": _difference(one, other),
                "- full": _difference(one, full),
                "kept, %": share,
            }


def _from_lite2(found: Records, data: str) -> Iterable[dict[str, Any]]:
    for target in ("lite1", "lite0"):
        published = found.get((data, target, "inherited", ""))
        rows = [("published", published), ("Lite2's weights, same shape", found.get((data, target, "shrunk", "")))]
        rows += [(f"Lite2's, {way}", found.get((data, f"lite2-{target}-{way}", "inherited", ""))) for way in WAYS]
        for name, record in rows:
            if record:
                yield {
                    "cost of": target,
                    "weights": name,
                    **_row(record),
                    "- published": _difference(record, published),
                }


def _up(found: Records, data: str) -> Iterable[dict[str, Any]]:
    small = found.get((data, "lite0", "inherited", ""))
    if small:
        yield {
            "network": "lite0",
            "weights": "published",
            **_row(small),
            "- Lite0": UNDEFINED,
            "- published": UNDEFINED,
        }
    for network in ("lite1", "lite2"):
        published = found.get((data, network, "inherited", ""))
        for name, start in (("published", "inherited"), ("grown from Lite0", "grown")):
            record = found.get((data, network, start, ""))
            if record:
                yield {
                    "network": network,
                    "weights": name,
                    **_row(record),
                    "- Lite0": _difference(record, small),
                    "- published": _difference(record, published) if start == "grown" else UNDEFINED,
                }


def _statistics(found: Records, data: str) -> Iterable[dict[str, Any]]:
    for network in ("lite0", "lite0-0.25-compound"):
        kept_ones = found.get((data, network, "inherited", ""))
        for variant in VARIANTS:
            record = found.get((data, network, "inherited", variant))
            if record:
                after = record.get("accuracy_recomputed_after")
                yield {
                    "network": network,
                    "statistics": variant or "kept",
                    **_row(record),
                    "- kept": _difference(record, kept_ones) if variant else UNDEFINED,
                    "recomputed after, %": _shown(*interval(after)) if after else UNDEFINED,
                }
