"""The figures of a search, and the page that presents it: `report.html`."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tfeff import config
from tfeff.data.names import counted
from tfeff.reporting import html
from tfeff.reporting.candidates import allocation_figure, candidates_figure
from tfeff.reporting.direction import direction_figure
from tfeff.reporting.landscape import landscape_figure
from tfeff.reporting.scaling_curves import (
    METHODS,
    OTHERS,
    latency_figure,
    method_figure,
    methods_figure,
    single_against_compound_figure,
)
from tfeff.reporting.tables import percent, unit_of
from tfeff.reporting.training_curves import loss_figure
from tfeff.scaling.direction import BestDirection
from tfeff.scaling.result import Result
from tfeff.scaling.study import Study
from tfeff.trials.intervals import summary
from tfeff.trials.ranking import HIGHEST

RATES = (
    "Learning rates tried for each network, with the metric on held-out images of the first fold. A rate at the end of "
    "those tried may not be the best."
)


def page(result: Result, directory: Path, command: str, captions: Mapping[str, str]) -> str:
    """Returns the HTML page of the report."""
    study, search = result.study, result.search

    def shown(*names: str) -> list[html.Part]:
        return [
            html.figure(directory / "figures" / f"{name}.svg", captions[name]) for name in names if name in captions
        ]

    coefficients: list[html.Part] = [
        html.paragraph(_coefficients(result)),
        html.paragraph(_method(result)),
        *shown("direction", "landscape"),
        *([html.table(result.ranking, f"Candidates ranked by {study.objective.title}.")] if result.ranking else []),
        *(_direction(result.best) if result.best else []),
    ]
    comparison: list[html.Part] = [
        html.paragraph(_comparison(result)),
        html.table(result.members, f"The networks, and the mean of their {result.metric_words} over folds."),
        html.table(
            result.comparison.gains,
            f"Compound members against the baseline in {result.metric_words}, on the same folds. Each interval stands "
            "alone.",
        ),
        html.table(result.comparison.rows, f"Advantage of compound scaling in {result.metric_words}."),
        html.table(
            result.comparison.power,
            "Advantage that gives a lower bound above 0 with a probability of 80 %: over a single dimension, or over "
            "all of them if it is as large over each. Methods that failed to optimize are left out. The rows of other "
            "numbers of folds help to plan: folds can be added later.",
        ),
        html.table(
            result.comparison.slopes,
            f"Growth of {result.metric_words} per doubling of the multiply-adds, within folds. These intervals are not "
            "adjusted for several comparisons.",
        ),
        *([html.table(result.rates, RATES)] if result.rates else []),
        *shown("single_against_compound"),
        html.columns(shown("methods", *(name for name in captions if name.startswith("method_")), "latency")),
    ]
    family: list[html.Part] = [
        html.table(result.family, "Members of the family. Latency: one image, one process."),
        html.command(member_command(result, directory)),
        *_all_five(result, directory),
    ]
    memory: list[html.Part] = [
        html.paragraph(
            "Estimated: peak of layer outputs and gradients during a training step, times the batch size. Measured: "
            "peak of TensorFlow's allocator during a trial minus what it held before, the minimum over the network's "
            "trials. Fused operations need less than estimated; prefetched batches and the workspace of operations "
            "add to it."
        ),
        html.table(result.memory, "Training memory."),
    ]
    sections: dict[str, Sequence[html.Part]] = {
        "Coefficients": coefficients,
        "Networks trained for the coefficients": [
            *shown("candidates", "allocation"),
            *(
                [html.details("All trainings, in their order", [html.table(result.trainings)])]
                if result.trainings
                else []
            ),
        ],
        "Scaling methods compared": comparison if result.points else [],
        "Family": family,
        "Batch normalization": shown("batch_normalization"),
        "Memory": memory,
        "Failed trials": [html.table(result.records.failed, "Trials that failed.")] if result.records.failed else [],
        "Command and config": [
            html.command(command),
            html.details("The whole config", [html.command(config.to_json(search))]),
        ],
    }
    return html.page(
        f"Compound scaling of {study.baseline.model.name} on {search.experiment.data.source}",
        sections,
        summary=result.findings.family.finding,
    )


def _direction(best: BestDirection) -> list[html.Part]:
    """Returns the answer compared with other directions, and how sure it is."""
    return [
        html.table(
            best.rows,
            f"Directions compared at the cost of φ = {best.phi:g}, by the surface without the prior. All intervals "
            "hold together (Scheffé).",
        ),
        html.paragraph(
            "The region contains every direction that can be the best without contradicting the trainings; no prior "
            "is used for it. A direction outside is not the best one, but may lose little: its interval can contain 0. "
            "The answer is a posterior mean, or a single dimension if that is best with a probability "
            "above one half. The prior is centered on the published proportions. Its strength was estimated: a "
            f"standard deviation of {best.state.direction.distance:.2f} around them, in shares. The weight of the "
            f"prior in the surface's coefficients is {percent(best.state.direction.weight)}."
        ),
    ]


def member_command(result: Result, directory: Path) -> str:
    """Returns the command that trains a member of the family."""
    return (
        f"python -m tfeff.train --config=CONFIG --workdir=WORKDIR --config.member.family={shlex.quote(str(directory))} "
        f"--config.member.phi={_largest(result):g}"
    )


def _all_five(result: Result, directory: Path) -> list[html.Part]:
    """Returns how the members of all methods are compared; nothing for detectors, which the tool does not know."""
    if result.findings.family.detector:
        return []
    words = (
        "In a clone of tfeff, this trains the baseline and the networks scaled in depth, width, resolution and all "
        "three, on all images as CONFIG says, and compares them on one page, with class activation maps side by side:"
    )
    return [html.paragraph(words), html.command(comparison_command(result, directory))]


def comparison_command(result: Result, directory: Path) -> str:
    """Returns the command that compares a member with the baseline and with each single dimension, on all images."""
    return (
        f"python tools/compare_members.py --search={shlex.quote(str(directory))} --phi={_largest(result):g} "
        f"--classes={result.study.baseline.num_classes} --config=CONFIG --workdir=WORKDIR "
        + shlex.quote(f"data.source={result.search.experiment.data.source}")
    )


def _largest(result: Result) -> float:
    """Returns the largest φ whose member was trained; 1 if none was."""
    return max((point.phi for point in result.findings.points), default=0.0) or 1.0


def _coefficients(result: Result) -> str:
    """Returns the coefficients, as a paragraph."""
    family = result.findings.family
    phi = max(result.search.design.phis) if result.search.choice == "surface" else 1.0
    member = result.study.baseline.member(family, phi)
    nominal = f"α·β²·γ² = {family.alpha * family.beta**2 * family.gamma**2:.3f}"
    if family.detector:
        nominal = f"Of neck and heads: depth {family.neck_depth:.3f}, width {family.neck_width:.3f}"
    return (
        f"Depth α = {family.alpha:.3f}, width β = {family.beta:.3f}, resolution γ = {family.gamma:.3f}. {nominal}; the "
        f"real multiply-adds at φ = {phi:g} are {member.relative['macs']:.3f} times the baseline's."
    )


def _comparison(result: Result) -> str:
    """Says how the methods are compared, as a paragraph."""
    search = result.search
    if search.coefficients is not None:
        folds = "The coefficients were given; no network was selected here."
    elif search.member_blocks == search.folds.blocks:
        where = " at φ = 1" if search.choice == "mean" else ""
        folds = f"The coefficients were selected on the same folds, so compound scaling is somewhat overrated{where}."
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
    """Says how the coefficients were found, as a paragraph."""
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
        f"cost {bounds} of the baseline (within {percent(search.budget.tolerance, 1)}). Each was trained on the same "
        f"{folds.count} {kind}"
    )
    if result.best is not None:
        costs = ", ".join(f"{phi:g}" for phi in search.design.phis)
        tried = (
            f"The search trained {len(result.trainings)} times, each time the network of {len(study.networks)} that "
            "promised to tell most about the best direction per second of training. They have the multiply-adds of φ = "
            f"{costs}: those of the baseline times {search.budget.macs:g}^φ (within "
            f"{percent(search.budget.tolerance, 1)}). "
            f"Trainings are spread over {folds.count} {kind}"
        )
    if search.coefficients is not None:
        tried = (
            "The coefficients were given; networks scaled by other methods have about the same multiply-adds. Each was "
            f"trained on the same {folds.count} {kind}"
        )
    allocation = f"{search.allocation.name} allocation, " if result.ranked else ""
    hours = f"{result.records.seconds / 3600:.2f} process-hours"
    if result.rates:
        hours += ", without those that found learning rates"
    highest = f" {HIGHEST}" if result.ranked else ""
    return (
        f"{tried} of {search.experiment.data.source} with {images} "
        f"and {counted(folds.seeds, 'seeds')} per fold, for at most {result.epochs} epochs "
        f'({allocation}batch-size rule "{search.trials.batch_size}", learning-rate rule '
        f'"{search.trials.learning_rate}"). The trials took {hours}.{highest}'
    )


MEASURES = {"macs": "multiply-adds", "memory": "peak memory", "params": "parameters", "latency": "latency"}


def draw(result: Result) -> dict[str, tuple[Figure, str]]:
    """Returns name -> (figure, caption)."""
    rows, points, study = result.candidates, result.points, result.study
    title, unit = result.metric_words, unit_of(result.metric)
    axis = {"metric": title, "unit": unit}
    start = result.values(study.baseline.unscaled, members=True, objective=True)
    other_folds = "" if result.search.member_blocks == result.search.folds.blocks else ", on the folds of the members"
    figures = dict[str, tuple[Figure, str]]()
    if result.best is not None:
        trained = {each.network.id for each in result.best.trained}
        figures = {
            "direction": _direction_figure(result, result.best),
            "candidates": (candidates_of(study, trained), "All distinct networks, with those trained highlighted."),
        }
    elif result.ranked is not None:
        figures = {
            "candidates": (
                candidates_of(study, {network.id for network in study.chosen}),
                "All distinct networks within the budget, with the candidates highlighted.",
            ),
            "landscape": (
                landscape_figure(
                    rows,
                    metric=study.objective.title,
                    unit=unit if not study.objective.exponent else "",
                    baseline=summary(start.values()).mean if start else None,
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
            method_figure(points, method, **axis),
            f"Scaling, {label}: {title} against multiply-adds.",
        )
    if points:
        figures["methods"] = methods_figure(points, **axis), "All scaling methods on the same axes."
    if "compound" in methods and len(methods) > 1:
        drawn = single_against_compound_figure(points, **axis)
        figures["single_against_compound"] = drawn, "Compound scaling compared with each other method."
    if points:
        drawn = latency_figure(points, **axis, minimized=study.objective.minimized)
        figures["latency"] = drawn, "Performance against the measured latency of one image."
    if result.findings.plain is not None:
        pair = {"with": study.baseline.unscaled, "without": result.findings.plain}
        runs = {f"{which}, rate {result.rate(network):.2g}": result.losses(network) for which, network in pair.items()}
        figures["batch_normalization"] = (
            loss_figure(runs, title="The baseline with and without batch normalization"),
            "Training loss of the baseline with and without batch normalization, each at a rate that suits it.",
        )
    return figures


def _direction_figure(result: Result, best: BestDirection) -> tuple[Figure, str]:
    """Returns the best direction and its caption."""
    unit = "" if result.study.objective.exponent else unit_of(result.metric)
    phis = (0.0, *best.search.design.phis)
    drawn = direction_figure(
        [
            {
                "depth": each.network.depth,
                "width": each.network.width,
                "resolution": each.network.scale,
                "phi": min(phis, key=lambda phi: abs(phi - each.phi)),
            }
            for each in best.trained
        ],
        [row for row in best.rows if "answer minus it" in row],
        answer=best.shares,
        region=best.region,
        reference=("published " + ", ".join(map("{:g}".format, best.search.reference)), np.array(best.reference)),
        extents=[state.extent for state in best.explored.states],
        counts=best.explored.counts,
        metric=result.study.objective.title,
        unit=unit,
    )
    return drawn, (
        f"Left: the best direction at the cost of φ = {best.phi:g} and its 95 % confidence region; networks at their "
        "shares. Right: what other directions lose at equal cost, and how the region shrank."
    )


def candidates_of(study: Study, chosen: Collection[str]) -> Figure:
    """Returns all networks within the budget, with some highlighted."""
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
        chosen,
        cost=MEASURES[budget.measure],
        target=budget.bounds[budget.measure] if study.chosen else None,
        tolerance=budget.tolerance,
    )
