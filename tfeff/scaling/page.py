"""The page that presents a search: `report.html`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tfeff import config
from tfeff.reporting import html
from tfeff.reporting.tables import percent
from tfeff.scaling.figures import MEASURES
from tfeff.scaling.result import Result

RATES = (
    "Learning rates tried for each network, with the metric on held-out images of the first fold. A rate at the end of "
    "those tried may not be the best."
)


def page(result: Result, directory: Path, command: str, captions: Mapping[str, str]) -> str:
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
        html.Table(result.members, f"The networks, and the mean of their {result.metric_words} over folds."),
        html.Table(result.comparison.rows, f"Advantage of compound scaling in {result.metric_words}."),
        html.Table(
            result.comparison.power,
            "Advantage that gives a lower bound above 0 with a probability of 80 %: over a single dimension, or over "
            "all of them if it is as large over each. Methods that failed to optimize are left out. The rows of other "
            "numbers of folds help to plan: folds can be added later.",
        ),
        html.Table(
            result.comparison.slopes,
            f"Growth of {result.metric_words} per doubling of the multiply-adds, within folds. These intervals are not "
            "adjusted for several comparisons.",
        ),
        *([html.Table(result.rates, RATES)] if result.rates else []),
        *shown(
            "single_against_compound", "methods", *(name for name in captions if name.startswith("method_")), "latency"
        ),
    ]
    family: list[html.Part] = [
        html.Table(result.family, "Members of the family. Latency: one image, one process."),
        html.Command(member_command(result, directory)),
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


def member_command(result: Result, directory: Path) -> str:
    """The command that trains a member of the family."""
    phi = max((point.phi for point in result.findings.points), default=0.0) or 1.0
    return (
        f"python -m tfeff.train --config=CONFIG --workdir=WORKDIR --config.model.family={directory} "
        f"--config.model.phi={phi:g}"
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
    sentences = [
        "Compound members are compared with networks that are scaled in other ways to about the same multiply-adds and "
        "trained on the same folds.",
        folds,
        "The intervals against depth, width and resolution alone at one φ hold together with 95 % confidence (Dunnett "
        "1955, with the residual variance of the two-way layout of networks and folds), and so do the lower bounds, "
        "which are one-sided.",
        "A network failed to optimize if its final training loss is above the baseline's or one of its trainings "
        "failed; its mean is over the others. It is compared by paired differences, and its values do not count in the "
        "variance of the others.",
    ]
    if search.folds.validation_split:
        sentences.append(
            "All folds share their validation images, so the intervals are about trainings on other images, not about "
            "other validation images."
        )
    if result.rates:
        sentences.append("They hold for the learning rates that were found, which other held-out images might change.")
    return " ".join(sentences)


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
        f"The search tried {len(study.chosen)} candidates, selected from {len(study.networks)} distinct networks that "
        f"cost {bounds} of the baseline (within {percent(search.budget.tolerance, 1)})."
    )
    if search.coefficients is not None:
        tried = "The coefficients were given; networks scaled by other methods have about the same multiply-adds."
    allocation = f"{search.allocation.name} allocation, " if search.coefficients is None else ""
    hours = f"{result.records.seconds / 3600:.2f} process-hours"
    if result.rates:
        hours += ", without those that found learning rates"
    return (
        f"{tried} Each was trained on the same {folds.count} {kind} of {search.experiment.data.source} with {images} "
        f"and {folds.seeds} seed{'s' * (folds.seeds != 1)} per fold, for at most {result.epochs} epochs "
        f'({allocation}batch-size rule "{search.trials.batch_size}", learning-rate rule '
        f'"{search.trials.learning_rate}"). The trials took {hours}.'
    )
