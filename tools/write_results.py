"""Writes results of experiments into Markdown: `python tools/write_results.py docs/*.md`.

A document names a file, relative to itself, and what to write about it, between two comments. The file is the
`result.json` of a search; for `variants` and `sweeps`, what `tools/compare_variants.py` and `tools/compare_sweeps.py`
write; for `transfer`, what `tools/compare_datasets.py` writes; for `forecasts`, what `tools/check_forecasts.py` writes;
for `heads`, what `tools/summarize_runs.py` writes about runs of R-CNN; for `sensitivity`, what an earlier program
measured, changing one setting of R-CNN at a time; for `rows`, any list of rows:

    <!-- results/cifar10_search.json: candidates -->
    <!-- end -->

Whatever is between them is replaced. Figures are drawn next to the results. `--check` writes nothing, and fails if
a document is not up to date.
"""

import argparse
import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import command_line
from matplotlib.figure import Figure

from tfeff.config.search import SINGLE
from tfeff.durable import write
from tfeff.errors import UserError, nearest
from tfeff.reporting import tables
from tfeff.reporting.figure import save_png
from tfeff.reporting.scaling_curves import METHODS, methods_figure, single_against_compound_figure
from tfeff.reporting.tables import unit_of

BLOCK = re.compile(r"(<!-- (?P<file>\S+\.json): (?P<kind>[\w ]+) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)
ALONE = tuple(METHODS[method].label for method in SINGLE)
Result = Mapping[str, Any]


def main() -> None:
    """Updates the documents that the flags name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="+", type=Path, metavar="DOCUMENT", help="Markdown files.")
    parser.add_argument("--check", action="store_true", help="Fail if a document is not up to date; write nothing.")
    arguments = parser.parse_args()
    old = []
    for document in arguments.documents:
        before = document.read_text(encoding="utf-8")
        try:
            after = updated(before, document.parent, draw=not arguments.check)
        except UserError as error:
            raise UserError(f"{document}: {error}") from error
        if after != before:
            old.append(str(document))
            if not arguments.check:
                write(document, after)
    if arguments.check and old:
        parser.exit(1, f"not up to date, run python tools/write_results.py {' '.join(old)}\n")
    print("\n".join(f"wrote {document}" for document in old) or "up to date")


def updated(text: str, folder: Path, *, draw: bool) -> str:
    """Returns a document whose blocks have what their results say.

    Args:
        text: the document.
        folder: where it is.
        draw: also draw its figures.

    Raises:
        UserError: a result cannot be read, or a kind is not known.
    """

    def block(match: re.Match[str]) -> str:
        file, kind = folder / match["file"], match["kind"]
        if kind not in WRITERS and kind not in FIGURES:
            raise UserError(f'{match["file"]}: "{kind}"; {nearest(kind, [*WRITERS, *FIGURES])}')
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: {error}") from error
        if kind in WRITERS:
            try:
                written = WRITERS[kind](result)
            except KeyError as error:
                raise UserError(f'{file} has no {error}, which "{kind}" needs; write it again') from None
        else:
            caption, figure = FIGURES[kind]
            name = f"{match['file'].removesuffix('.json')}_{kind}.png"
            written = f"![{caption}]({name})"
            if draw:
                save_png(figure(result), folder / name)
        return f"{match[1]}\n{written}\n\n{match[5]}"

    return BLOCK.sub(block, text)


def candidates(result: Result) -> str:
    """Returns the candidates, the best first."""
    detector = any("neck" in row["label"] for row in result["candidates"])
    ranked = sorted(result["candidates"], key=place)
    rows = [
        {
            **(
                {"network": row["label"]}
                if detector
                else {"d": row["depth"], "w": row["width"], "r": row["resolution"]}
            ),
            "x baseline": f"{row['ratio']:.2f}",
            result["objective"]: interval(row["mean"], row["low"], row["high"]),
            "standing": row["reason"] or row["standing"],
        }
        for row in ranked
    ]
    return tables.markdown(rows)


def place(candidate: Result) -> tuple[bool, bool, float]:
    """Sorts candidates: those trained to the end by their mean, those eliminated by theirs, those without one."""
    mean = candidate["mean"]
    return mean is None, candidate["standing"] == "eliminated", -(mean or 0.0)


def directions(result: Result) -> str:
    """Returns the best direction by a surface, compared with others at equal cost."""
    metric, rows = result["objective"], []
    for row in result["surface"]["directions"]:
        minus, chance = "answer minus it" in row, row.get("probability that it is best, with the prior")
        rows.append(
            {
                "direction": row["direction"],
                **{f"{name}, %": f"{100 * row[name]:.0f}" for name in SINGLE},
                "in the region": row["in the region"],
                metric: f"{row[metric]:.3f}",
                "answer minus it, points": points(row["answer minus it"]) if minus else None,
                "95 %": f"{points(row['95 % from'])} to {points(row['to'])}" if minus else None,
                "probability that it is best, with the prior": None if chance is None else tables.percent(chance),
            }
        )
    return tables.markdown(rows)


def networks(result: Result) -> str:
    """Returns the members, and the networks that they are compared with."""
    rows = []
    for row in map(with_interval, result["networks"]):
        row["x baseline"] = f"{row['x baseline']:.2f}"
        if "training accuracy" in row:
            row["training accuracy"] = f"{row['training accuracy']:.3f}"
        rows.append(row)
    return tables.markdown(rows)


def comparisons(result: Result) -> str:
    """Compares compound scaling with the other methods."""
    rows = [
        {
            "φ": f"{row['φ']:g}",
            "against": row["against"],
            "advantage, points": points(row["advantage"]),
            "95 %": f"{points(row['95 % from'])} to {points(row['to'])}",
            "lower bound": points(row["lower bound"]),
            "verdict": row["verdict"],
        }
        for row in result["comparisons"]
        if "advantage" in row
    ]
    return tables.markdown(rows)


def verdict(result: Result) -> str:
    """Returns what the lower bounds of the largest member say about the claim."""
    compared = [row for row in result["comparisons"] if row["against"] in ALONE]
    if not compared:
        return "Compound scaling was not compared with single dimensions."
    phi = max(row["φ"] for row in compared)
    rows = [row for row in compared if row["φ"] == phi and row.get("lower bound") is not None]
    if not rows:
        return f"At φ = {phi:g}, nothing is decided: no lower bound is known."
    bounds = [f"{points(row['lower bound'])} against {row['against']}" for row in rows]
    better = [row["against"] for row in rows if row["lower bound"] > 0]
    if len(better) == len(ALONE):
        answer = "better than depth, width and resolution alone"
    elif better:
        answer = f"better than {' and '.join(better)}; that it is better than all three is not shown"
    else:
        answer = "not shown to be better than any single dimension"
    sentences = [
        f"At φ = {phi:g}, compound scaling is {answer}.",
        f"Simultaneous lower bounds of its advantage, in points: {', '.join(bounds)}.",
    ]
    worse = [row["against"] for row in rows if row["to"] is not None and row["to"] < 0]
    if worse:
        sentences.append(f"It is worse than {' and '.join(worse)} (simultaneous 95 % intervals).")
    apart = [row["against"] for row in rows if not row.get("optimized", True)]
    if apart:
        sentences.append(f"Against {' and '.join(apart)}, a network failed to optimize.")
    undecided = [f"{row['against']} ({row['verdict']})" for row in compared if row["φ"] == phi and row not in rows]
    if undecided:
        sentences.append(f"No bound is known against {' and '.join(undecided)}.")
    return " ".join(sentences)


def power(result: Result) -> str:
    """Returns the smallest advantage that these folds, and others, can detect."""
    rows = [
        {
            "φ": f"{row['φ']:g}",
            "folds": row["folds"],
            "these": row["these"],
            "deviation of a fold, points": f"{100 * row['deviation of a fold']:.2f}",
            "detectable advantage, points": f"{100 * row['detectable advantage']:.2f}",
            **({"over all compared": f"{100 * row['over all']:.2f}"} if "over all" in row else {}),
        }
        for row in result["power"]
    ]
    return tables.markdown(rows)


def forecasts(result: Sequence[Result]) -> str:
    """Returns accuracies on parts of the images and on all of them, beside the forecast."""
    rows = []
    for row in result:
        measured = {key: f"{100 * value:.1f}" for key, value in row.items() if key.startswith("with ")}
        forecast = " to ".join(f"{100 * row[key]:.1f}" for key in ("from", "up to"))
        inside = "yes" if row["inside"] else "no"
        rows.append(
            {"network": row["network"], **measured, "forecast (80 %)": f"{100 * row['forecast']:.1f} ({forecast})"}
            | {"inside": inside}
        )
    return tables.markdown(rows)


def slopes(result: Result) -> str:
    """Returns the growth per doubling of the multiply-adds."""
    rows = [
        {
            "method": row["method"],
            "points per doubling": f"{points(row['growth per doubling'])} "
            f"({points(row['95 % from'])} to {points(row['to'])})",
            "compound minus it": f"{points(row['compound minus it'])} ({points(row['from'])} to {points(row['up to'])})"
            if "compound minus it" in row
            else None,
        }
        for row in result["slopes"]
    ]
    return tables.markdown(rows)


def rates(result: Result) -> str:
    """Returns the learning rates tried for each network."""
    return tables.markdown(result["learning_rates"]) if result["learning_rates"] else "No learning rates were tried."


def failures(result: Result) -> str:
    """Says how many trials failed, and which."""
    failed = result["failed_trials"]
    if not failed:
        return "No trial failed."
    return f"{len(failed)} trials failed:\n\n{tables.markdown(failed)}"


def choice(result: Result) -> str:
    """Says how the coefficients were chosen."""
    return str(result["sentence"])


def family(result: Result) -> str:
    """Returns the members of the family."""
    return tables.markdown(result["family"])


def variants(result: Result) -> str:
    """Returns the variants of an experiment with their scores.

    The intervals are over the runs, or over the images of a single run.
    """
    groups, reference = result["variants"], result["reference"]
    compared = {score for group in groups.values() for score, each in differences(group).items() if each["interval"]}
    written = []
    for name, group in groups.items():
        row = {"variant": name, "runs": len(group["runs"])}
        for index, (score, values) in enumerate(group["scores"].items()):
            first = index == 0  # the only one whose interval over images is known
            row[score] = (
                scored(group, score) if first else interval(values["mean"], *(values["interval"] or (None, None)))
            )
            if score in compared:
                row[f"{score} minus that of “{reference}”, points"] = in_points(differences(group).get(score))
        if "training_accuracy" in group:
            fitted = group["training_accuracy"]
            row["training accuracy"] = f"{sum(fitted) / len(fitted):.3f}"
        row |= {
            "parameters": f"{group['params'] / 1e6:.1f} M",
            "multiply-adds": f"{macs / 1e9:.2f} G" if (macs := group["macs"]) >= 1e8 else f"{macs / 1e6:.1f} M",
            "prediction, ms": f"{1e3 * group['prediction_seconds']:.1f}" if "prediction_seconds" in group else None,
            "training, min": f"{statistics.median(group['training_seconds']) / 60:.1f}",
        }
        written.append(row)
    return tables.markdown(written)


def transfer(result: Result) -> str:
    """Returns the first score of each variant on each dataset.

    The intervals are over the runs, or over the images of a single run.
    """
    datasets = result["datasets"]
    names = dict.fromkeys(name for each in datasets.values() for name in each["variants"])
    rows = []
    for name in names:
        row: dict[str, Any] = {"variant": name}
        for dataset, compared in datasets.items():
            score = next(iter(compared["variants"][compared["reference"]]["scores"]))
            group = compared["variants"].get(name)
            row[f"{dataset}, {score}"] = None if group is None else scored(group, score)
        rows.append(row)
    return tables.markdown(rows)


def scored(group: Result, score: str) -> str:
    """Returns the mean of the first score with its interval over the runs, or over the images of a single run."""
    values = group["scores"][score]
    images = group.get("intervals_of_test_images", [group.get("interval_of_test_images")])[0]
    if len(group["runs"]) == 1 and images:
        return "{:.3f} ({:.3f} to {:.3f} over images)".format(values["mean"], *images)
    return interval(values["mean"], *(values["interval"] or (None, None)))


def in_points(difference: Result | None) -> str | None:
    """Returns a difference with its interval; None without one."""
    if difference is None or difference["interval"] is None:
        return None
    low, high = difference["interval"]
    return f"{points(difference['mean'])} ({points(low)} to {points(high)})"


def differences(group: Result) -> Mapping[str, Any]:
    """Returns a variant's differences from the reference, by score."""
    return group.get("minus_reference", {})


def sweeps(result: Result) -> str:
    """Returns what sweeps over the same keys found, and for how much training."""
    return tables.markdown(
        [
            {
                "sweep": name,
                "combinations": row["candidates"],
                "epochs": row["epochs"],
                "relative": row["of the reference"],
                "trials, min": f"{row['seconds_of_trials'] / 60:.1f}",
                "best": row["best"]["label"],
                "its mean over the folds (95 %)": interval(*(row["best"][key] for key in ("mean", "low", "high"))),
            }
            for name, row in result.items()
        ]
    )


def heads(result: Result) -> str:
    """Returns the scores of R-CNN's heads, means over the runs of the only group of a summary."""
    if len(result) != 1:
        raise UserError(f'"heads" needs a summary of one group of runs; this one has {", ".join(result)}')
    (group,) = result.values()
    rows: dict[str, dict[str, str | None]] = {}
    for name, score in group["scores"].items():
        quantity, _, head = name.rpartition(" ")
        low, high = score["interval"] or (None, None)
        if low is not None:
            low, high = max(low, 0.0), min(high, 1.0)  # Student's t does not know that these are shares
        rows.setdefault(head, {"head": head.replace("_", " ")})[quantity] = interval(score["mean"], low, high)
    return tables.markdown(list(rows.values()))


def sensitivity(rows: Sequence[Result]) -> str:
    """Returns R-CNN's metrics for each value of a setting, and their differences from those of the run's own head."""

    def difference(row: Result, metric: str) -> str | None:
        if not any(map(any, row["differences"].values())):  # the run's own head
            return None
        mean, low, high = row["differences"][metric]
        return in_points({"mean": mean, "interval": [low, high]})

    return tables.markdown(
        [
            {
                "key": f"`{row['form']}.{row['key']}`",
                "value": f"{row['value']:g}",
                "mAP@.5": f"{row['mAP@.5']:.3f}",
                "difference, points": difference(row, "mAP@.5"),
                "class accuracy on object boxes": tables.percent(row["object accuracy"], 1),
                "background recall": tables.percent(row["background recall"], 1),
                "its difference, points": difference(row, "background recall"),
            }
            for row in rows
        ]
    )


def plain(rows: Sequence[Result]) -> str:
    """Returns rows as they are, with three significant digits."""
    return tables.markdown(
        [
            {
                key: significant(value) if isinstance(value, float) else value
                for key, value in with_interval(row).items()
            }
            for row in rows
        ]
    )


def with_interval(row: Result) -> dict[str, Any]:
    """Returns a row without the columns of an interval's ends, which join the column before them."""
    shown, last = {}, ""
    for key, value in row.items():
        if key == "95 % from":
            shown[last] = interval(row[last], value, row["to"])
        elif key != "to":
            shown[key], last = value, key
    return shown


def significant(value: float) -> str | None:
    """Formats a number with three significant digits, without an exponent.

    >>> [significant(value) for value in (0.5, 14.04, 1234.5, float("nan"))]
    ['0.500', '14.0', '1,234', None]
    """
    if math.isnan(value):
        return None
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def interval(mean: float | None, low: float | None, high: float | None) -> str | None:
    """Returns a mean with its 95 % interval."""
    if mean is None:
        return None
    return f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def points(share: float | None) -> str:
    """Returns a difference of accuracies, in percentage points; "-0.0" is below zero."""
    return tables.UNDEFINED if share is None else f"{100 * share + 0.0:+.1f}"


def methods(result: Result) -> Figure:
    """Returns all scaling methods on the same axes."""
    return methods_figure(result["members"], metric=metric(result), unit=unit_of(metric(result)))


def against(result: Result) -> Figure:
    """Compares compound scaling with each other method."""
    return single_against_compound_figure(result["members"], metric=metric(result), unit=unit_of(metric(result)))


def metric(result: Result) -> str:
    """Returns what the members are compared by."""
    return str(result.get("metric", result["objective"]))


WRITERS: Mapping[str, Callable[[Any], str]] = {
    "candidates": candidates,
    "directions": directions,
    "networks": networks,
    "comparisons": comparisons,
    "verdict": verdict,
    "power": power,
    "slopes": slopes,
    "rates": rates,
    "failures": failures,
    "forecasts": forecasts,
    "choice": choice,
    "family": family,
    "transfer": transfer,
    "variants": variants,
    "sweeps": sweeps,
    "heads": heads,
    "sensitivity": sensitivity,
    "rows": plain,
}
FIGURES: Mapping[str, tuple[str, Callable[[Result], Figure]]] = {
    "methods": ("All scaling methods", methods),
    "against": ("Compound scaling and other methods", against),
}

if __name__ == "__main__":
    command_line.run(main)
