"""The figures of a search."""

from matplotlib.figure import Figure

from tfeff.reporting.allocation import allocation_figure
from tfeff.reporting.candidates import candidates_figure
from tfeff.reporting.landscape import landscape_figure
from tfeff.reporting.loss_curves import loss_figure
from tfeff.reporting.metric import unit_of
from tfeff.reporting.scaling_curves import (
    METHODS,
    OTHERS,
    latency_figure,
    method_figure,
    methods_figure,
    single_against_compound_figure,
)
from tfeff.scaling.result import Result
from tfeff.scaling.study import Study
from tfeff.trials.intervals import summary

MEASURES = {"macs": "multiply-adds", "memory": "peak memory", "params": "parameters", "latency": "latency"}


def draw(result: Result) -> dict[str, tuple[Figure, str]]:
    """Name -> (figure, caption)."""
    rows, points, study = result.candidates, result.points, result.study
    title, unit = result.metric_words, unit_of(result.metric)
    start = result.values(study.baseline.unscaled, members=True, objective=True)
    other_folds = "" if result.search.member_blocks == result.search.folds.blocks else ", on the folds of the members"
    figures = dict[str, tuple[Figure, str]]()
    if result.findings.choice is not None:
        optimum = result.findings.choice.optimum
        figures = {
            "candidates": (
                candidates_of(study),
                "All distinct networks within the budget, with the candidates highlighted.",
            ),
            "landscape": (
                landscape_figure(
                    rows,
                    metric=study.objective.title,
                    unit=unit if not study.objective.exponent else "",
                    baseline=summary(start.values()).mean if start else None,
                    region=None if optimum is None else optimum.region,
                    highest=None if optimum is None else optimum.shares,
                    reference=None
                    if optimum is None
                    else ("reference " + ", ".join(map("{:g}".format, optimum.reference)), optimum.reference_shares),
                ),
                "Performance of the candidates by their shares of depth, width and resolution"
                + (f"; the dashed line is that of the baseline{other_folds}." if start else "."),
            ),
            "allocation": (allocation_figure(rows), "Epochs spent on each candidate, and why its training ended."),
        }
    methods = [method for method in (*OTHERS, "compound") if any(point["method"] == method for point in points)]
    for method in methods:
        label = METHODS[method].label
        figures[f"method_{label.replace(' ', '_')}"] = (
            method_figure(points, method, metric=title, unit=unit),
            f"Scaling, {label}: {title} against multiply-adds.",
        )
    if points:
        figures["methods"] = (
            methods_figure(points, metric=title, unit=unit),
            "All scaling methods on the same axes.",
        )
    if "compound" in methods and len(methods) > 1:
        figures["single_against_compound"] = (
            single_against_compound_figure(points, metric=title, unit=unit),
            "Compound scaling compared with each other method.",
        )
    if points:
        figures["latency"] = (
            latency_figure(points, metric=title, unit=unit),
            "Performance against the measured latency of one image.",
        )
    if result.findings.plain is not None:
        runs = {
            "with batch normalization": result.losses(study.baseline.unscaled),
            "without batch normalization": result.losses(result.findings.plain),
        }
        figures["batch_normalization"] = (
            loss_figure(runs, title="The baseline with and without batch normalization"),
            "Training loss of the baseline with and without batch normalization.",
        )
    return figures


def candidates_of(study: Study) -> Figure:
    """All networks within the budget, with the candidates highlighted."""
    budget = study.search.budget
    rows = [
        {
            "id": network.id,
            "depth": network.depth,
            "width": network.width,
            "resolution": network.scale,
            "ratio": network.relative[budget.measure],
        }
        for network in study.networks
    ]
    return candidates_figure(
        rows,
        {network.id for network in study.chosen},
        cost=MEASURES[budget.measure],
        target=budget.bounds[budget.measure],
        tolerance=budget.tolerance,
    )
