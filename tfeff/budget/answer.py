"""The outcome of a budget search in sentences."""

from collections.abc import Mapping
from typing import Any

from tfeff.budget.limits import amount, estimated
from tfeff.budget.prospects import Check, Prospects
from tfeff.budget.race import SHORT
from tfeff.budget.search import Findings
from tfeff.budget.study import Study
from tfeff.budget.verification import is_objective
from tfeff.data.names import counted
from tfeff.data.splits import canonical_name
from tfeff.reporting.tables import percent, unit_of


def answer(findings: Findings) -> str:
    """Returns the outcome in some sentences: the network, how good it is and how sure, what it costs."""
    study, delivered = findings.study, findings.delivered
    network = study.networks[delivered.name]
    shown = [name for name in study.bounds.values if name in delivered.costs]
    costs = ", ".join(
        f"{name} {amount(delivered.costs[name], name)}{estimated(delivered.errors.get(name, 0.0))} of "
        f"{amount(study.bounds.values[name], name)}"
        for name in shown
    )
    meets = "is expected to meet" if delivered.errors.keys() & set(shown) else "meets"
    sentences = [findings.ranking.sentence]
    if instead := _instead(findings):
        sentences.append(instead)
    sentences.append(
        f"Trained on {_trained_on(study)} and exported ({study.settings.budget.form}), "
        f"{network.label} has {amount(network.cost.params, 'params')} parameters"
        f"{f' and {meets} the budget: {costs}' if costs else ''}."
    )
    if delivered.teacher is not None:
        teacher = study.networks[delivered.teacher.name].label
        sentences.append(
            f"It imitates {teacher}, which was trained for this: of all that there was time for, it has "
            f"{delivered.teacher.why}."
        )
    if failed := _failed(findings):
        sentences.append(failed)
    sentences += filter(
        None,
        (
            _late(findings),
            _shortened(findings),
            _tested(findings),
            _lost(findings),
            more(findings),
            labels(findings),
            to_label(findings),
        ),
    )
    sentences.append(_time(findings))
    return " ".join(sentences)


def compared(findings: Findings) -> bool:
    """Returns whether any network was trained on folds."""
    return any(findings.table.values())


def _late(findings: Findings) -> str:
    """Returns that there was no time for all networks and folds; empty if there was."""
    late = sum(fate.stage == "time" for fate in findings.fates.values())
    if not compared(findings):
        return ""  # the sentence of the ranking says so
    if not findings.complete:
        others = f"; there was no more for {counted(late, 'other networks')}" if late else ""
        return f"The time was over before the networks were compared on all folds{others}."
    return f"For lack of time, {counted(late, 'networks')} could not be trained on all folds." if late else ""


def _shortened(findings: Findings) -> str:
    """Returns which trainings were shortened for lack of time; empty if none was."""
    label = findings.study.networks[findings.delivered.name].label
    folds, final = ("all" if pace == 1 else percent(pace) for pace in (findings.pace, findings.delivered.pace))
    if not compared(findings):
        was = f"{label} was trained for {final} of the epochs that suit the images"
        return "" if findings.delivered.pace == 1 else f"For lack of time, {was}."
    if min(findings.pace, findings.delivered.pace) == 1:
        return ""
    return (
        f"For lack of time, the networks were compared after {folds} of the epochs that suit the images; "
        f"{label} was then trained for {final} of them."
    )


def _instead(findings: Findings) -> str:
    """Returns why another network is delivered than the choice of the ranking; empty if it is that one."""
    delivered, ranking, networks = findings.delivered, findings.ranking, findings.study.networks
    label = networks[delivered.name].label
    if delivered.dropped is None and delivered.name == ranking.chosen:
        return ""
    fates = {
        name: fate
        for name, fate in findings.fates.items()
        if name in ranking.order and fate.stage in ("failed", "measured", "exported")
    }
    reasons = "; ".join(f"{networks[name].label}: {fate.reason}" for name, fate in fates.items())
    first = "meets the budget when exported"
    if any(fate.stage != "measured" for fate in fates.values()):
        first = f"could be delivered ({reasons})"
    before = f" {label} was dropped earlier: {delivered.dropped}." if delivered.dropped else ""
    if any(fate.stage == "exported" for fate in fates.values()):
        return f"{label} is delivered instead ({reasons}).{before}"
    if before:
        return f"None of the networks that were left {first}.{before}"
    return f"{label} is the first of them that {first}."


def _failed(findings: Findings) -> str:
    """Returns on how many folds the trainings of another choice than that of the ranking failed; empty if none did."""
    name = findings.delivered.name
    if name == findings.ranking.chosen:
        return ""  # its sentence says so
    trained = findings.candidates[name].name
    failed = len(
        {each["fold"] for each in findings.failed if each["candidate"] == trained}
        - {fold for fold, _ in findings.table[name]}
    )
    if not failed:
        return ""
    return f"Its training failed on {failed} of {failed + len(findings.table[name])} folds, which do not count."


def _trained_on(study: Study) -> str:
    """Returns the images that the choice was trained on, in words."""
    held_out = study.settings.experiment.data.validation_fraction
    if not held_out or "validation" in study.found:
        return "all training images"
    share = percent(1 - held_out)
    return f"{share} of the training images (validated on the others, on which the networks were compared, too)"


def evaluated(findings: Findings) -> list[dict[str, Any]]:
    """Returns the metric on images that the search has not seen, as rows: of the network and of its export."""
    evaluation, report = findings.delivered.evaluation, findings.delivered.verified.report
    if evaluation is None or report is None:
        return []
    key, words = ("mean_ap", "mAP") if findings.study.detects else ("accuracy", "accuracy")
    results = {
        f"exported ({findings.study.settings.budget.form})": evaluation.evaluator.result(report),
        "trained": evaluation.evaluator.result(evaluation.report),
    }
    return [
        {
            "network as": name,
            words: result[key],
            **dict(zip(("95 % from", "to"), result[f"{key}_interval"], strict=True)),
        }
        for name, result in results.items()
    ]


def evaluated_on(findings: Findings) -> str:
    """Returns the name of these images."""
    evaluation, named = findings.delivered.evaluation, findings.study.settings.experiment.data.test_split
    assert evaluation is not None
    is_test = named is not None and canonical_name(evaluation.split) == canonical_name(named)
    return "test" if is_test else evaluation.split


def _tested(findings: Findings) -> str:
    """Returns `evaluated` in a sentence; the value of the trained network only if it differs."""
    rows = evaluated(findings)
    if not rows:
        return ""
    _, words, *_ = rows[0]
    shown = [[_shown(value, words) for value in (row[words], row["95 % from"], row["to"])] for row in rows]
    parts = [
        f"{value} (95 % interval {low} to {high}) as {row['network as']}"
        for row, (value, low, high) in zip(rows, shown, strict=True)
    ]
    if shown[0][0] == shown[1][0]:
        parts = [f"{parts[0]} and as trained"]
    return f"On the {evaluated_on(findings)} images: {words} {', '.join(parts)}."


def _lost(findings: Findings) -> str:
    """Returns what the export costs, if that is too much and nothing better was found."""
    loss = findings.delivered.verified.loss
    if not loss.matters(findings.study):
        return ""
    others = sum(fate.stage == "exported" for fate in findings.fates.values())
    tried = "no other network that was expected to be better could be delivered in time"
    if not is_objective(findings.study):
        tried = f"no other network was tried, because they are compared by {findings.study.objective.title}"
    elif others:
        trained = f"{counted(others, 'other networks')} {'were' if others > 1 else 'was'} trained, too"
        tried = f"{trained}, and not better when exported"
    return f"The export costs {loss.text}, probably more on new ones; {tried}."


def metric_words(study: Study) -> str:
    """Returns the metric on validation images, such as "accuracy" or "mAP"."""
    return study.objective.title.removeprefix("validation ")


def _shown(value: float, words: str) -> str:
    """Returns a value of the metric with these words."""
    return percent(value, 1) if unit_of(words) else f"{value:.3f}"


STEPS: Mapping[str, Mapping[str, float]] = {
    "as it is": {},
    "twice the images": {"images": 2.0},
    "four times the images": {"images": 4.0},
    "twice the multiply-adds": {"macs": 2.0},
    "four times the multiply-adds": {"macs": 4.0},
    "twice the epochs": {"epochs": 2.0},
}
"""What is forecast, in words."""


def more(findings: Findings) -> str:
    """Returns what brings more: labels or compute; empty without a forecast that was asked for."""
    found, metric = findings.prospects, metric_words(findings.study)
    if found is None:
        why = findings.no_forecast
        return f"There is no forecast of what more images or compute would bring: {why}." if why else ""
    shown = dict[str, tuple[str, str]]()
    for words, step in _steps(found).items():
        if words.startswith("twice"):
            gain = found.expected(**step)
            value, low, high = (_points(each) for each in (gain.gain, gain.low, gain.high))
            shown[words] = value, f"{low} to {high}"
    value, interval = shown.pop("twice the images")
    others = "".join(f", {words} {value} ({interval})" for words, (value, interval) in shown.items())
    return (
        f"Twice the images would add {value} points of mean {metric} on the folds (95 % interval {interval}){others}. "
        f"{checked(found.check, metric)}"
    )


def checked(check: Check, metric: str) -> str:
    """Returns how a forecast of what was measured fared."""
    forecast = check.forecast
    expected, low, high, measured = (
        _shown(each, metric) for each in (forecast.accuracy, forecast.low, forecast.high, check.measured)
    )
    verdict = "inside" if check.inside else "outside"
    advice = "" if check.inside else " So do not rely on the gain from more images."
    return (
        f"As a check, the trainings on at most half of the images alone forecast {expected} ({low} to {high}) with all "
        f"of them; {measured} was measured, {verdict} the interval.{advice}"
    )


def _points(difference: float) -> str:
    """Returns a difference of metrics in points, without "-0.0"."""
    return f"{round(100 * difference, 1) + 0.0:.1f}"


def labels(findings: Findings) -> str:
    """Returns what is known about wrong labels; empty if nothing is."""
    found = findings.labels
    if found is None:
        return ""
    examined = f"Of {found.images:,} labels that were examined, {found.suspects:,} look wrong"
    if not found.suspects:
        return f"{examined}."
    gain, low, high = (f"{100 * each:+.1f}" for each in (found.gain, found.low, found.high))
    verdict = "is better" if found.low > 0 else "is worse" if found.high < 0 else "is not separable from one with them"
    interval = f"{gain} points, 95 % interval {low} to {high} over {found.held_out:,} held-out images"
    return f"{examined}; a classifier on fixed features that is trained without them {verdict} ({interval})."


def to_label(findings: Findings) -> str:
    """Returns which images to label next; empty if there are none without labels."""
    found = findings.to_label
    if found is None:
        return ""
    return (
        f"Labels of {found.listed:,} of the {found.images:,} images of {found.folder} would teach it most (uncertain "
        f"ones that differ from each other): {found.table} lists them."
    )


def _steps(found: Prospects) -> dict[str, Mapping[str, float]]:
    """Returns what is forecast, in words; nothing about what all trainings have in common."""
    known = {"images", *found.varied}
    return {words: step for words, step in STEPS.items() if known.issuperset(step)}


def growth(findings: Findings) -> list[dict[str, Any]]:
    """Returns the forecasts, as rows: the metric as it was measured, and what is expected, with the gain in points."""
    rows, found = list[dict[str, Any]](), findings.prospects
    if found is not None:
        for words, step in _steps(found).items():
            each = found.expected(**step)
            gain = [100 * end for end in (each.gain, each.low, each.high)] if step else [None] * 3
            row = {"with": words, metric_words(findings.study): each.accuracy}
            rows.append(row | dict(zip(("points gained", "95 % from", "to"), gain, strict=True)))
    return rows


def _time(findings: Findings) -> str:
    """Returns how long the search took, and why if that was too long."""
    given, moments, delivered = findings.study.settings.budget.minutes, findings.moments, findings.delivered
    taken = f"{moments.end / 60:.1f}"
    if given is None:
        return f"The search took {taken} minutes."
    words = f"The search took {taken} minutes of {given:g}"
    if float(taken) <= given:
        return f"{words}."
    if moments.choice > 60 * given:
        reason = "they were over before the training of the choice"
    elif moments.delivered <= 60 * given:
        examined = "the examination of labels" if findings.labels is not None else ""
        forecast = "the forecast of more images and compute" if findings.prospects is not None else ""
        made = " and ".join(filter(None, (examined, forecast)))
        reason = f"{made or 'what came after the export'} took longer than expected"
    elif delivered.others:
        reason = "more than one choice was trained"
    elif delivered.pace <= SHORT:
        reason = "the training of the choice could not be shortened further"
    else:
        reason = "training, evaluation and export of the choice took longer than expected"
    return f"{words}: {reason}."


def screening(study: Study) -> str:
    """Returns what comes before the trainings on folds."""
    return "short training" if study.detects else "probe"
