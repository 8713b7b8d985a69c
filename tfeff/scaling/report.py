"""The files that a search writes into its workdir.

```
search.sqlite      the store: config, candidates, every trial with its metrics per epoch
candidates.json    all networks within the budget; `tried` marks the candidates
coefficients.json  α, β, γ and the baseline, read by model.family
result.json        ranking, comparisons and family as numbers
family.md          the members of the family as a table
figures/           PNG and SVG
report.html        all of the above on one page
trials/            one workdir per trial: config.json, metrics.jsonl
tensorboard/       one run per trial, with HParams
trials.log         output of the worker processes
```
"""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tfeff import config
from tfeff.durable import write
from tfeff.reporting import figure, html, tables
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
from tfeff.scaling import members
from tfeff.scaling.baseline import peak_memory
from tfeff.scaling.result import Result, describe
from tfeff.scaling.search import Findings, Forecast, given_family
from tfeff.scaling.study import Study
from tfeff.trials.intervals import summary
from tfeff.trials.store import Record

RATES = (
    "Learning rates tried for each network, with the metric on held-out images of the first fold. A rate at the end of "
    "those tried may not be the best."
)
MEASURES = {"macs": "multiply-adds", "memory": "peak memory", "params": "parameters", "latency": "latency"}


def candidates(study: Study, directory: Path) -> str:
    """Writes `candidates.json` and its figure; returns them, or the members of given coefficients, as text."""
    if study.search.coefficients is not None:
        return _members(study)
    chosen = {network.id for network in study.chosen}
    rows = [
        {
            "id": network.id,
            "depth": network.depth,
            "width": network.width,
            "resolution": network.scale,
            "nominal": network.nominal,
            "relative": network.relative,
            "blocks": network.blocks,
            "widths": network.widths,
            "pixels": network.resolution,
            "params": network.cost.params,
            "macs": network.cost.macs,
            "memory": peak_memory(network.cost),
            "tried": network.id in chosen,
        }
        for network in study.networks
    ]
    write(directory / "candidates.json", json.dumps(rows, indent=1) + "\n")
    figure.save(_candidates_figure(study), directory / "figures" / "candidates")
    text = tables.text([describe(study, network) for network in study.chosen])
    return (
        f"{text}\n\n{_candidates(study)} selected from {len(study.networks)} distinct networks within the "
        f"budget; baseline: {study.baseline.cost.macs:,} multiply-adds, {study.baseline.cost.params:,} parameters\n"
        f"wrote {directory / 'candidates.json'}\nwrote {directory / 'figures' / 'candidates'}.{{png,svg}}"
    )


def _members(study: Study) -> str:
    """The networks of a study with given coefficients, as a table."""
    points = members.points(study.baseline, given_family(study), study.search.members)
    rows = [{"method": p.method, "φ": p.phi, **describe(study, p.network)} for p in points]
    return (
        f"{tables.text(rows)}\n\nbaseline: {study.baseline.cost.macs:,} multiply-adds, "
        f"{study.baseline.cost.params:,} parameters"
    )


def forecast(study: Study, expected: Forecast, processes: int) -> str:
    """The expected duration of a search, as text."""
    trials = len(study.chosen) * len(study.search.folds.blocks)
    images = f"{study.examples[0]:,} training and {study.examples[1]:,} validation images"
    searched = (
        f"{trials} trials with {images} each, {study.search.allocation.name} allocation: "
        f"{_duration(expected.search, processes)}"
    )
    parts = [
        *([searched] if trials else []),
        f"members: {_duration(expected.members, processes)}",
        f"measured on this machine: {expected.rate.start:.1f} s to start a trial of a new network, then "
        f"{1e6 * expected.rate.per_image:.0f} µs per image and {1e12 * expected.rate.per_mac:.0f} ps per multiply-add",
    ]
    return "\n".join(parts)


def _duration(seconds: float, processes: int) -> str:
    elapsed = timedelta(seconds=round(seconds / processes))
    return f"{seconds / 3600:.2f} core-hours, {elapsed} with {processes} processes"


def write_all(findings: Findings, records: Sequence[Record], directory: Path, command: str) -> str:
    """Writes all files that present the findings of a search; returns a summary for the terminal.

    Args:
        findings: from `search.run`.
        records: all trials of the search.
        directory: the workdir.
        command: the command line of the search, for the report.
    """
    result = Result(findings, records)
    figures = _figures(result)
    for name, (drawing, _) in figures.items():
        figure.save(drawing, directory / "figures" / name)
    write(directory / "family.md", tables.markdown(result.family) + "\n")
    write(directory / "result.json", json.dumps(result.to_json(), indent=2) + "\n")
    captions = {name: caption for name, (_, caption) in figures.items()}
    write(directory / "report.html", _page(result, directory, command, captions))
    paths = [directory / name for name in ("coefficients.json", "family.md", "result.json", "figures", "report.html")]
    parts = [
        tables.text(result.ranking),
        findings.family.finding,
        tables.text(result.members),
        tables.text(result.comparison.rows),
        tables.text(result.comparison.power),
        tables.text(result.family),
        "\n".join(f"wrote {path}" for path in paths),
        "train a member on all images: " + _member_command(result, directory),
    ]
    return "\n\n".join(part for part in parts if part.strip())


def _figures(result: Result) -> dict[str, tuple[Any, str]]:
    """Name -> (figure, caption)."""
    rows, points, study = result.candidates, result.points, result.study
    title, unit = _metric(result)
    start = result.values(study.baseline.unscaled, members=True, objective=True)
    figures = dict[str, tuple[Any, str]]()
    if result.findings.choice is not None:
        optimum = result.findings.choice.optimum
        figures = {
            "candidates": (
                _candidates_figure(study),
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
                ),
                "Performance of the candidates by their shares of depth, width and resolution.",
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


def _metric(result: Result) -> tuple[str, str]:
    """The metric as words, and its unit for axes."""
    return result.metric_words, unit_of(result.metric)


def _member_command(result: Result, directory: Path) -> str:
    """The command that trains a member of the family."""
    phi = max((point.phi for point in result.findings.points), default=0.0) or 1.0
    return (
        f"python -m tfeff.train --config=CONFIG --workdir=WORKDIR --config.model.family={directory} "
        f"--config.model.phi={phi:g}"
    )


def _page(result: Result, directory: Path, command: str, captions: Mapping[str, str]) -> str:
    """The HTML page of the report."""
    study, search = result.study, result.search

    def shown(*names: str) -> list[html.Figure]:
        return [
            html.Figure(directory / "figures" / f"{name}.svg", captions[name]) for name in names if name in captions
        ]

    coefficients: list[html.Part] = [
        html.Paragraph(_coefficients(result)),
        html.Paragraph(_method(result)),
        *shown("landscape"),
        *([html.Table(result.ranking, f"Candidates ranked by {study.objective.title}.")] if result.ranking else []),
    ]
    comparison: list[html.Part] = [
        html.Paragraph(_comparison(result)),
        html.Table(result.members, f"The networks, and the mean of their {_metric(result)[0]} over folds."),
        html.Table(result.comparison.rows, f"Advantage of compound scaling in {_metric(result)[0]}."),
        html.Table(
            result.comparison.power,
            "Advantage for which the lower bound is above 0 with a probability of 80 %: that over one dimension, or "
            "over all compared ones if it is as large over each. It holds for methods that "
            "train better than the baseline. Other numbers of folds help to plan: folds can be added later.",
        ),
        html.Table(
            result.comparison.slopes,
            f"Growth of {_metric(result)[0]} per doubling of the multiply-adds, within folds. These intervals are not "
            "adjusted for several comparisons.",
        ),
        *([html.Table(result.rates, RATES)] if result.rates else []),
        *shown(
            "single_against_compound", "methods", *(name for name in captions if name.startswith("method_")), "latency"
        ),
    ]
    family: list[html.Part] = [
        html.Table(result.family, "Members of the family. Latency: one image, one process."),
        html.Command(_member_command(result, directory)),
    ]
    memory: list[html.Part] = [
        html.Paragraph(
            "Estimated: peak of layer outputs and gradients during a training step, times the batch size. Measured: "
            "peak of TensorFlow's allocator during a trial minus what it held before, the minimum over the network's "
            "trials. Fused operations need less than estimated; prefetched batches and the workspace of operations "
            "add to it."
        ),
        html.Table(result.memory, "Training memory."),
    ]
    sections: dict[str, Sequence[html.Part]] = {
        "Coefficients": coefficients,
        "Candidates": shown("candidates", "allocation"),
        "Scaling methods compared": comparison if result.points else [],
        "Family": family,
        "Batch normalization": shown("batch_normalization"),
        "Memory": memory,
        "Failed trials": [html.Table(result.records.failed, "Trials that failed.")] if result.records.failed else [],
        "Command and config": [html.Command(command), html.Command(config.to_json(search))],
    }
    return html.page(
        f"Compound scaling of {study.baseline.model.name} on {search.experiment.data.source}",
        [html.Section(title, parts) for title, parts in sections.items() if parts],
        summary=result.findings.family.finding,
    )


def _coefficients(result: Result) -> str:
    """The coefficients, as a paragraph."""
    family = result.findings.family
    first = result.study.baseline.member(family, 1.0)
    nominal = f"α·β²·γ² = {family.alpha * family.beta**2 * family.gamma**2:.3f}"
    if family.detector:
        nominal = f"Of neck and heads: depth {family.neck_depth:.3f}, width {family.neck_width:.3f}"
    return (
        f"Depth α = {family.alpha:.3f}, width β = {family.beta:.3f}, resolution γ = {family.gamma:.3f}. {nominal}; the "
        f"real multiply-adds at φ = 1 are {first.relative['macs']:.3f} times the baseline's. {family.finding}"
    )


def _comparison(result: Result) -> str:
    """How the methods are compared, as a paragraph."""
    search = result.search
    if search.coefficients is not None:
        folds = "The coefficients were given; no network was selected here."
    elif search.member_blocks == search.folds.blocks:
        folds = "The coefficients were selected on the same folds, so compound scaling is somewhat overrated at φ = 1."
    else:
        folds = f"{search.folds.count} further folds, which the selection of the coefficients did not see, were used."
    return (
        "Compound members compared with networks that are scaled otherwise to the same multiply-adds, on the same "
        f"folds. {folds} The intervals against depth, width and resolution alone at one φ hold at once with 95 % "
        "confidence (Dunnett 1955, with the residual variance of the two-way layout networks x folds), and so do the "
        "lower bounds, which are one-sided. A network whose final training loss is above the baseline's failed to "
        "optimize, and so did one with a failed training, which its mean leaves out; both have a variance of their own."
        + (
            " All folds share their validation images, so the intervals are about trainings on other images, not about "
            "other validation images."
            if search.folds.validation_split
            else ""
        )
        + (
            " They hold for the learning rates that were found, which other held-out images might change."
            if result.rates
            else ""
        )
    )


def _method(result: Result) -> str:
    """How the coefficients were found, as a paragraph."""
    study, search, folds = result.study, result.search, result.search.folds
    bounds = " and ".join(f"{bound:g} times the {MEASURES[name]}" for name, bound in search.budget.bounds.items())
    kind = "independent subsets"
    images = f"{study.examples[0]:,} training and {study.examples[1]:,} validation images each"
    if folds.validation_split is not None:
        images = f"{study.examples[0]:,} training images each and the same {study.examples[1]:,} validation images"
    if folds.kind == "classic":
        kind = "cross-validation folds (their training parts overlap, so intervals are somewhat too narrow)"
    tried = (
        f"The search tried {_candidates(study)}, selected from {len(study.networks)} distinct networks that cost "
        f"{bounds} of the baseline (within {search.budget.tolerance:.1%})."
    )
    if search.coefficients is not None:
        tried = "The coefficients were given; networks scaled by other methods have about the same multiply-adds."
    return (
        f"{tried} Each was trained on the same {folds.count} {kind} of {search.experiment.data.source} with {images} "
        f"and {folds.seeds} seed{'s' * (folds.seeds != 1)} per fold, for at most {result.epochs} epochs "
        f'({search.allocation.name} allocation, batch-size rule "{search.trials.batch_size}", learning-rate rule '
        f'"{search.trials.learning_rate}"). The trials took {result.records.seconds / 3600:.2f} process-hours.'
    )


def _candidates(study: Study) -> str:
    count = len(study.chosen)
    return f"{count} candidate{'s' * (count != 1)}"


def _candidates_figure(study: Study) -> Any:
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
