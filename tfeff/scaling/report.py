"""What a search writes into its workdir, beside its trials.

```
search.sqlite      the store: config, networks, every trial with its metrics by epoch
candidates.json    all networks within the budget, and which are tried
coefficients.json  α, β, γ and the baseline: what model.family takes
result.json        the ranking, the comparisons and the family as numbers
family.md          the members as a table
figures/           PNG and SVG
report.html        all of it on one page
trials/            a workdir each: config.json, metrics.jsonl
tensorboard/       a run a trial, with HParams
trials.log         what the processes printed
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
from tfeff.reporting.scaling_curves import (
    SINGLE,
    latency_figure,
    methods_figure,
    single_against_compound_figure,
    sweep_figure,
)
from tfeff.scaling import statistics
from tfeff.scaling.baseline import memory
from tfeff.scaling.result import Result, described
from tfeff.scaling.search import Findings, Forecast, Study
from tfeff.scaling.store import Record


def candidates(study: Study, directory: Path) -> str:
    """Writes `candidates.json` and its figure; the tried ones as a table."""
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
            "memory": memory(network.cost),
            "tried": network.id in chosen,
        }
        for network in study.networks
    ]
    write(directory / "candidates.json", json.dumps(rows, indent=1) + "\n")
    figure.save(_candidates_figure(study), directory / "figures" / "candidates")
    text = tables.text([described(study, network) for network in study.chosen])
    return (
        f"{text}\n\n{len(study.chosen)} of {len(study.networks)} distinct networks within the budget; baseline "
        f"{study.baseline.cost.macs:,} multiply-adds, {study.baseline.cost.params:,} parameters\n"
        f"wrote {directory / 'candidates.json'}\nwrote {directory / 'figures' / 'candidates'}.{{png,svg}}"
    )


def forecast(study: Study, expected: Forecast, processes: int) -> str:
    """What the search will take, in words."""
    trials = len(study.chosen) * len(study.search.folds.blocks)
    parts = [
        f"{trials} trials on {study.examples[0]:,} training and {study.examples[1]:,} validation images each, under "
        f"{study.search.allocation.name} allocation: {_duration(expected.search, processes)}",
        f"the sweeps after them: {_duration(expected.sweeps, processes)}",
        f"measured here: {expected.rate.start:.1f} s to start a trial of a new network, then "
        f"{1e6 * expected.rate.per_image:.0f} µs an image and {1e12 * expected.rate.per_mac:.0f} ps a multiply-add",
    ]
    return "\n".join(parts)


def _duration(seconds: float, processes: int) -> str:
    elapsed = timedelta(seconds=round(seconds / processes))
    return f"{seconds / 3600:.2f} core-hours, {elapsed} with {processes} at once"


def write_all(findings: Findings, records: Sequence[Record], directory: Path, command: str) -> str:
    """Writes everything but the store from what a search found; a summary for the terminal.

    Args:
        findings: what `search.run` gave.
        records: all of its trials.
        directory: the workdir.
        command: that ran the search, as the report shows it.
    """
    result = Result(findings, records)
    pictures = _figures(result)
    for name, (drawn, _) in pictures.items():
        figure.save(drawn, directory / "figures" / name)
    write(directory / "family.md", tables.markdown(result.family) + "\n")
    write(directory / "result.json", json.dumps(result.numbers(), indent=2) + "\n")
    captions = {name: caption for name, (_, caption) in pictures.items()}
    write(directory / "report.html", _page(result, directory, command, captions))
    wrote = [directory / name for name in ("coefficients.json", "family.md", "result.json", "figures", "report.html")]
    parts = [
        tables.text(result.ranking),
        findings.ranking.sentence,
        tables.text(result.comparisons),
        tables.text(result.family),
        "\n".join(f"wrote {path}" for path in wrote),
        "to train a member on all images: " + _member_command(result, directory),
    ]
    return "\n\n".join(part for part in parts if part)


def _figures(result: Result) -> dict[str, tuple[Any, str]]:
    """Name -> (figure, caption)."""
    rows, points, study = result.candidates, result.points, result.study
    title, unit = _metric(result)
    start = result.values(study.baseline.start, objective=True)
    found = {
        "candidates": (
            _candidates_figure(study),
            "All distinct networks within the budget, and those that were tried.",
        ),
        "landscape": (
            landscape_figure(
                rows,
                metric=study.objective.title,
                unit=unit if not study.objective.exponent else "",
                baseline=statistics.summary(start.values()).mean if start else None,
            ),
            "How well the candidates did over the shares of depth, width and resolution.",
        ),
        "allocation": (allocation_figure(rows), "What each candidate was given, and why it stopped."),
    }
    methods = [method for method in (*SINGLE, "compound") if any(point["method"] == method for point in points)]
    for method in methods:
        name = method if method == "compound" else f"{method}_alone"
        found[f"sweep_{name}"] = (
            sweep_figure(points, method, metric=title, unit=unit),
            f"Scaling by {method if method == 'compound' else f'{method} alone'}: {title} against multiply-adds.",
        )
    if points:
        found["methods"] = (
            methods_figure(points, metric=title, unit=unit),
            "All ways of scaling on the same axes.",
        )
    if "compound" in methods and len(methods) > 1:
        found["single_against_compound"] = (
            single_against_compound_figure(points, metric=title, unit=unit),
            "Each single dimension against compound scaling.",
        )
    if points:
        found["latency"] = (
            latency_figure(points, metric=title, unit=unit),
            "Against the measured time of one image's prediction.",
        )
    if result.findings.plain is not None:
        runs = {
            "with batch normalization": result.losses(study.baseline.start),
            "without batch normalization": result.losses(result.findings.plain),
        }
        found["batch_normalization"] = (
            loss_figure(runs, title="The baseline with and without batch normalization"),
            "Training loss of the baseline with and without batch normalization.",
        )
    return found


def _metric(result: Result) -> tuple[str, str]:
    """The metric in words, and its unit for axes."""
    return result.metric.replace("_", " "), "%" if result.metric.endswith("accuracy") else ""


def _member_command(result: Result, directory: Path) -> str:
    """How to train a member of the family."""
    phi = max((point.phi for point in result.findings.points), default=0.0) or 1.0
    return (
        f"python -m tfeff.train --config=CONFIG --workdir=WORKDIR --config.model.family={directory} "
        f"--config.model.phi={phi:g}"
    )


def _page(result: Result, directory: Path, command: str, captions: Mapping[str, str]) -> str:
    """The report."""
    study, search = result.study, result.search

    def drawn(*names: str) -> list[html.Figure]:
        return [
            html.Figure(directory / "figures" / f"{name}.svg", captions[name]) for name in names if name in captions
        ]

    coefficients: list[html.Part] = [
        html.Paragraph(_found(result)),
        html.Paragraph(_setting(result)),
        *drawn("landscape"),
        html.Table(result.ranking, f"The candidates by {study.objective.title}."),
    ]
    worth: list[html.Part] = [
        html.Paragraph(
            "Compound members against networks scaled in one dimension alone to the same multiply-adds; differences "
            "are paired over the folds, with the pair's own t interval and without adjustment for their number. The "
            "compound member of φ = 1 was picked by these very trials, which flatters it."
        ),
        html.Table(result.comparisons, f"Differences in {_metric(result)[0]}."),
        *drawn(
            "single_against_compound", "methods", *(name for name in captions if name.startswith("sweep_")), "latency"
        ),
    ]
    family: list[html.Part] = [
        html.Table(result.family, "Members by φ; latency is that of one image on one process."),
        html.Command(_member_command(result, directory)),
    ]
    memory: list[html.Part] = [
        html.Paragraph(
            "Predicted: layer outputs and gradients at the worst moment of a training step, times the batch. "
            "Measured: the most that TensorFlow's allocator held on the device during a trial beyond what it held "
            "before, the smallest of the network's trials. Fused operations keep less than is predicted; batches that "
            "are read ahead, and the working memory of an operation, come on top."
        ),
        html.Table(result.memory, "Memory of a training."),
    ]
    sections: dict[str, Sequence[html.Part]] = {
        "The coefficients": coefficients,
        "The candidates and their epochs": drawn("candidates", "allocation"),
        "What the coefficients are worth": worth if result.points else [],
        "The family": family,
        "Batch normalization": drawn("batch_normalization"),
        "Memory": memory,
        "Failed trials": [html.Table(result.failed, "Trials without a result.")] if result.failed else [],
        "The commands": [html.Command(command), html.Command(config.to_json(search))],
    }
    return html.page(
        f"Compound scaling of {study.baseline.model.name} on {search.experiment.data.source}",
        [html.Section(title, parts) for title, parts in sections.items() if parts],
        summary=result.findings.ranking.sentence,
    )


def _found(result: Result) -> str:
    """The coefficients, in words."""
    family, winner = result.findings.family, result.findings.winner
    return (
        f"Depth α = {family.alpha:.3f}, width β = {family.beta:.3f}, resolution γ = {family.gamma:.3f}; α·β²·γ² = "
        f"{winner.nominal:.3f}, real multiply-adds {winner.relative['macs']:.3f} times the baseline's. "
        f"{result.findings.ranking.sentence}"
    )


def _setting(result: Result) -> str:
    """How they were found, in words."""
    study, search, folds = result.study, result.search, result.search.folds
    bounds = " and ".join(f"{bound:g} times the {name}" for name, bound in search.budget.bounds.items())
    kind = "independent subsets"
    if folds.kind == "classic":
        kind = "folds of classic cross-validation (whose training parts overlap: intervals are somewhat too narrow)"
    return (
        f"{len(study.chosen)} of {len(study.networks)} distinct networks that cost {bounds} of the baseline (to within "
        f"{search.budget.tolerance:.1%}) were tried on {folds.count} {kind} of {search.experiment.data.source}, "
        f"{study.examples[0]:,} training and {study.examples[1]:,} validation images each, {folds.seeds} "
        f"seed{'s' * (folds.seeds != 1)} a fold, for at most {result.epochs} epochs under {search.allocation.name} "
        f'allocation; batch size by the rule "{search.trials.batch_size}", learning rate by '
        f'"{search.trials.learning_rate}". All candidates met the same folds. The trials took '
        f"{result.seconds / 3600:.2f} process-hours."
    )


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
    words = {"macs": "multiply-adds", "memory": "peak memory", "params": "parameters", "latency": "latency"}
    return candidates_figure(
        rows,
        {network.id for network in study.chosen},
        cost=words[budget.measure],
        target=budget.bounds[budget.measure],
        tolerance=budget.tolerance,
    )
