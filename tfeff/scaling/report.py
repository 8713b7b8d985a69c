"""The files that a search writes into its workdir.

```
search.sqlite      the store: config, candidates, every trial with its metrics per epoch
candidates.json    all networks within the budget; with `choice=mean`, `tried` marks the candidates
coefficients.json  α, β, γ and the baseline, read by member.family
result.json        direction or ranking, comparisons and family as numbers
family.md          the members of the family as a table
figures/           PNG and SVG
report.html        all of the above on one page
trials/            one workdir per trial: config.json, metrics.jsonl
tensorboard/       one run per trial, with HParams
trials.log         output of the worker processes
```
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tfeff.durable import write, write_record
from tfeff.reporting import figure, tables
from tfeff.reporting.tables import percent
from tfeff.scaling import members
from tfeff.scaling.forecast import ACCURACY, Forecast
from tfeff.scaling.page import candidates_of, draw, member_command, page
from tfeff.scaling.result import Result, describe
from tfeff.scaling.search import Findings
from tfeff.scaling.study import Study
from tfeff.trials.progress import duration
from tfeff.trials.store import Record


def candidates(study: Study, directory: Path | None) -> str:
    """Writes `candidates.json` and, with `choice=mean`, its figure, unless there is no directory.

    Returns the candidates as text. With given coefficients, nothing is written, and the members are returned.
    """
    search = study.search
    if search.coefficients is not None:
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
            "memory": network.cost.training_peak_bytes,
            **({"tried": network.id in chosen} if chosen else {}),
        }
        for network in study.networks
    ]
    baseline = f"baseline: {study.baseline.cost.macs:,} multiply-adds, {study.baseline.cost.params:,} parameters"
    if directory is not None:
        write(directory / "candidates.json", json.dumps(rows, indent=1) + "\n")
        baseline += f"\nwrote {directory / 'candidates.json'}"
    if not chosen:
        costs = ", ".join(f"{search.budget.macs**phi:.3g}" for phi in search.design.phis if search.budget.macs)
        return (
            f"{len(study.networks)} distinct networks to choose trainings from: the baseline, and those with {costs} "
            f"times its multiply-adds; {baseline}"
        )
    text = tables.text([describe(study, network) for network in study.chosen])
    if directory is not None:
        figure.save(candidates_of(study, chosen), directory / "figures" / "candidates")
        baseline += f"\nwrote {directory / 'figures' / 'candidates'}.{{png,svg}}"
    return (
        f"{text}\n\n{len(study.chosen)} candidates selected from {len(study.networks)} distinct networks within the "
        f"budget; {baseline}"
    )


def _members(study: Study) -> str:
    """Returns the networks of a study with given coefficients, as a table."""
    points = members.points(study.baseline, study.given_family, study.search.members)
    rows = [{"method": p.method, "φ": p.phi, **describe(study, p.network)} for p in points]
    return (
        f"{tables.text(rows)}\n\nbaseline: {study.baseline.cost.macs:,} multiply-adds, "
        f"{study.baseline.cost.params:,} parameters"
    )


def forecast(study: Study, expected: Forecast, processes: int) -> str:
    """Returns the expected duration and outcome of a search, as text."""
    images = f"{study.examples[0]:,} training and {study.examples[1]:,} validation images"
    parts = [f"members: {duration(expected.members, processes)}", f"measured on this machine: {expected.rate}"]
    if expected.outcomes:
        section = study.search.design
        minutes = "" if section.minutes is None else f", {section.minutes:g} minutes of training"
        parts = [
            f"It ends when the 95 % region of the best direction covers {percent(section.precision)} of the plane, or "
            f"after {section.trainings} trainings with {images} each{minutes}. Medians of simulated searches"
            + (f" at an accuracy of {ACCURACY:g}" if study.objective.bounded else "")
            + f", of which the longest takes {duration(expected.search, processes)}:",
            tables.text(expected.outcomes),
            *parts,
        ]
    elif expected.trainings:
        searched = f"{expected.trainings} trials with {images} each, {study.search.allocation.name} allocation"
        parts.insert(0, f"{searched}: {duration(expected.search, processes)}")
    return "\n".join(parts)


def write_all(findings: Findings, records: Sequence[Record], directory: Path, command: str) -> str:
    """Writes all files that present the findings of a search; returns a summary for the terminal."""
    result = Result(findings, records)
    drawn = draw(result)
    saved = figure.save_all(drawn, directory / "figures")
    write(directory / "family.md", tables.markdown(result.family) + "\n")
    write_record(directory / "result.json", result.to_json(), saved)
    captions = {name: caption for name, (_, caption) in drawn.items()}
    write(directory / "report.html", page(result, directory, command, captions))
    paths = [directory / name for name in ("coefficients.json", "family.md", "result.json", "figures", "report.html")]
    parts = [
        tables.text(result.ranking),
        tables.text(result.best.rows if result.best else []),
        findings.family.finding,
        tables.text(result.members),
        tables.text(result.comparison.gains),
        tables.text(result.comparison.rows),
        tables.text(result.comparison.power),
        tables.text(result.family),
        "\n".join(f"wrote {path}" for path in paths),
        "train a member on all images: " + member_command(result, directory),
    ]
    return "\n\n".join(part for part in parts if part.strip())
