"""The model card of a finished run, `model_card.md`: what to publish beside a model.

Its parts are those of Mitchell et al., "Model Cards for Model Reporting" (arXiv:1810.03993), as far as a run knows
them; its head is that of the Hugging Face Hub.
"""

import json

from tfeff import config
from tfeff.reporting import tables
from tfeff.training.findings import RunEvaluation, changed_settings, commands, content_rows, contents
from tfeff.training.plan import Plan
from tfeff.training.workdir import Workdir

CLASSES = 20
"""Classes that are named."""
WORST = 5
"""Mistakes that are named."""


def write_card(workdir: Workdir, evaluation: RunEvaluation | None, plan: Plan) -> None:
    """Writes the card, unless the user has edited it."""
    head = _head(workdir, plan) + "\n\n"
    parts = [
        f"# {plan.settings.model.name} for {_classes(workdir)}",
        "Not evaluated." if evaluation is None else f"{evaluation.answer}.",
        "## Use",
        _use(workdir, plan),
        "## Limits",
        _limits(workdir, evaluation, plan),
        "## Data",
        tables.markdown(content_rows(contents(workdir, evaluation))) + f"\n\nSource: `{plan.settings.data.source}`.",
        "## Evaluation",
        "None." if evaluation is None else _evaluation(evaluation),
        "## Training",
        _training(workdir, plan),
    ]
    body = "\n\n".join(filter(None, parts)) + "\n"
    workdir.write_card(head, body)


def _head(workdir: Workdir, plan: Plan) -> str:
    """Returns metadata in YAML; JSON strings are YAML strings."""
    task = plan.settings.task
    kind = "image-classification" if task.IS_CLASSIFIER else "object-detection" if task.IS_DETECTOR else None
    lines = ["---", "library_name: keras", *([f"pipeline_tag: {kind}"] if kind else []), "tags:", "- tfeff"]
    result = workdir.result()
    scores = {key: result[key] for key in ("accuracy", "mean_ap", "coco_ap") if isinstance(result.get(key), float)}
    if kind and scores:
        lines += ["model-index:", f"- name: {json.dumps(workdir.path.resolve().name)}", "  results:"]
        lines += [f"  - task: {{type: {kind}}}"]
        lines += [f"    dataset: {{name: {json.dumps(plan.settings.data.source)}, type: custom}}", "    metrics:"]
        lines += [f"    - {{type: {name}, value: {value:.4f}}}" for name, value in scores.items()]
    return "\n".join([*lines, "---"])


def _classes(workdir: Workdir) -> str:
    names = workdir.dataset()["class_names"]
    more = f" and {len(names) - CLASSES:,} more classes" if len(names) > CLASSES else ""
    return tables.plain(", ".join(names[:CLASSES])) + more


def _use(workdir: Workdir, plan: Plan) -> str:
    shell = "\n".join(f"# {what}\n{command}" for what, command in commands(workdir.path, plan).items())
    return f"PHOTOS is an image file or a folder of images.\n\n```sh\n{shell}\n```"


def _limits(workdir: Workdir, evaluation: RunEvaluation | None, plan: Plan) -> str:
    """What is not known of the model, and what goes wrong."""
    count, unit = workdir.dataset().get("train_examples"), "images" if plan.settings.data.tile is None else "tiles"
    lines = [
        f"It has learned from {count:,} {unit} of the source below, and is only known to work on images like them."
        if count
        else "It is only known to work on images like those of the source below.",
    ]
    if plan.settings.task.IS_CLASSIFIER:
        lines.append("It answers every image with one of its classes, also images of something else.")
    if evaluation is not None:
        lines += [tables.plain(line) for line in (evaluation.trust, *(f"{note}." for note in evaluation.notes))]
        if evaluation.mistakes:
            lines.append("The worst mistakes: " + tables.plain("; ".join(evaluation.mistakes[:WORST])) + ".")
    return "\n".join(f"- {line}" for line in lines if line)


def _evaluation(evaluation: RunEvaluation) -> str:
    shown = [tables.markdown(list(rows)) for rows in evaluation.evaluator.tables(evaluation.report) if rows]
    return "\n\n".join([tables.plain(f"On the {evaluation.split} images; {evaluation.drawn}"), *shown])


def _training(workdir: Workdir, plan: Plan) -> str:
    changed = [{"setting": key, "value": config.setting_text(value)} for key, value in changed_settings(plan).items()]
    parts = [tables.markdown(changed)]
    if calls := workdir.provenance().get("calls"):
        last = calls[-1]
        versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
        parts.append(f"Command: `{last['command']}`. Versions: {versions}. Machine: {last['machine']}.")
    return "\n\n".join(parts)
