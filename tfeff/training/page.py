"""The page of a finished run, `report.html`: the result in words, then everything that explains it."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfeff import config
from tfeff.data.splits import file_part
from tfeff.durable import write
from tfeff.reporting import figure, html
from tfeff.reporting.tables import upper
from tfeff.reporting.training_curves import training_panels
from tfeff.reports import Picture
from tfeff.training.findings import RunEvaluation, changed_settings, commands, content_rows, contents
from tfeff.training.plan import Plan
from tfeff.training.workdir import CHOSEN, Workdir

LARGE = 500_000
"""Bytes; a figure with a larger SVG is shown as PNG."""
WIDE = 400
"""Pixels; from this width on, images of a gallery get large cells."""
LISTED = 200
"""Mistakes in a list."""
NAMED = 50
"""Classes in the table of the data."""


def write_page(workdir: Workdir, evaluation: RunEvaluation | None, plan: Plan) -> Path:
    """Writes the page of a finished run, and returns its path.

    Args:
        workdir: the run's workdir.
        evaluation: evaluation on the images that `result.json` is about; None if there are none.
        plan: the run's plan.
    """
    settings, result = plan.settings, workdir.result()
    reason = result.get("not_evaluated", "it was not evaluated")
    sections: dict[str, Sequence[html.Part]] = {
        "Result": [] if evaluation is None else _result(workdir, evaluation),
        "Images": [] if evaluation is None else _images(evaluation),
        "Class activation": [] if evaluation is None else _activation(evaluation.activation),
        "Use it": _use(workdir, plan),
        "Training": _training(workdir, result),
        "Data": _data(workdir, evaluation),
        "Settings": _settings(workdir, plan),
        "Provenance": _provenance(workdir),
    }
    kind = settings.task.name.replace("_", " ")
    text = html.page(
        f"{settings.model.name} ({kind}) on {settings.data.source}",
        sections,
        summary=f"Not evaluated: {reason}." if evaluation is None else f"{evaluation.answer}.",
    )
    write(workdir.page, text)
    return workdir.page


def _use(workdir: Workdir, plan: Plan) -> list[html.Part]:
    shell = [f"# {what}\n{command}" for what, command in _next(workdir, plan).items()]
    python = (
        f"import tfeff\n\nrun = tfeff.open({str(workdir.path)!r})\n"
        'for prediction in run.predict("PHOTOS"):\n    print(prediction)'
    )
    return [
        html.paragraph("PHOTOS is an image file or a folder of images; on the command line:"),
        html.command("\n\n".join(shell)),
        html.paragraph("In Python:"),
        html.command(python),
    ]


def _next(workdir: Workdir, plan: Plan) -> dict[str, str]:
    if plan.settings.task.CUTS_REGIONS:  # exports only as a SavedModel
        return commands(workdir.path, plan)
    run = f"python -m tfeff.export --workdir={shlex.quote(str(workdir.path))}"
    return {**commands(workdir.path, plan), "for phones": f"{run} --format=litert --out=model.tflite"}


def _result(workdir: Workdir, evaluation: RunEvaluation) -> list[html.Part]:
    evaluator, (main, *others) = evaluation.evaluator, evaluation.evaluator.tables(evaluation.report)
    drawn = [
        html.figure(path, caption)
        for name, caption in evaluator.captions.items()
        if name in evaluation.figures
        and (path := _file(workdir.figures / f"{file_part(evaluation.split)}_{name}")) is not None
    ]
    return [
        *([html.paragraph(evaluation.trust)] if evaluation.trust else []),
        *(html.paragraph(f"Note: {note}.") for note in evaluation.notes),
        html.columns([html.table(list(main), f"Metrics on the {evaluation.split} images."), *drawn[:1]]),
        *(html.table(list(rows), row_headers=True) for rows in others if rows),
        html.columns(drawn[1:]),
    ]


def _images(evaluation: RunEvaluation) -> list[html.Part]:
    shown = [
        html.gallery(
            title,
            [html.picture(each.pixels, each.lines) for each in pictures],
            large=any(each.pixels.shape[1] >= WIDE for each in pictures),
        )
        for title, pictures in evaluation.galleries.items()
    ]
    if evaluation.mistakes:
        listed = evaluation.mistakes[:LISTED]
        some = f"The {len(listed):,} worst of" if len(listed) < len(evaluation.mistakes) else "All"
        title = f"{some} {len(evaluation.mistakes):,} images with mistakes, in a list"
        shown.append(html.details(title, [html.command("\n".join(listed))]))
    if evaluation.predictions:
        listed = evaluation.evaluator.listed
        text = f"{evaluation.listing.name}, beside this page, lists the truth and the prediction of {listed}."
        shown.append(html.paragraph(text))
    return shown


def _activation(pictures: Sequence[Picture]) -> list[html.Part]:
    if not pictures:
        return []
    return [
        html.paragraph(
            "Where the network sees the predicted class (Grad-CAM): bright regions raise its score. If the background "
            "is bright instead of the object, the network has learned the wrong thing."
        ),
        html.gallery(
            "Mistakes, then correct predictions", [html.picture(p.pixels, p.lines) for p in pictures], large=True
        ),
    ]


def _training(workdir: Workdir, result: Mapping[str, Any]) -> list[html.Part]:
    names = {
        "epochs": "epochs",
        "kept_epoch": "epoch of the weights",
        "training_seconds": "seconds of training",
        "images_per_second": "images per second",
        "params": "parameters",
        "macs": "multiply-adds of one image",
        "regions": "regions of one image, at most",
        "activation_bytes": "bytes of activations of one image",
    }
    rows = [{"quantity": words, "value": _whole(result[key])} for key, words in names.items() if key in result]
    panels = training_panels(workdir.rows())
    drawn = [html.drawn(figure.svg(panel), f"{upper(name)} by epoch.") for name, panel in panels.items()]
    return [html.columns(drawn), *([html.table(rows, "Training and network.")] if rows else [])]


def _whole(value: float) -> float:
    """Formats a number without superfluous decimals."""
    return round(value) if abs(value) >= 10 else round(value, 2)


def _data(workdir: Workdir, evaluation: RunEvaluation | None) -> list[html.Part]:
    record, found = workdir.dataset(), contents(workdir, evaluation)
    rows = content_rows(found)
    names = list(dict.fromkeys(name for each in found.values() for name in each["classes"]))
    classes = [
        {"class": name, **{role: each["classes"].get(name, 0) for role, each in found.items()}} for name in names
    ]
    defects = [
        {"split": role, "what was wrong": kind, "count": defect["count"], "lost": defect["lost"] or "nothing"}
        for role, each in found.items()
        for kind, defect in each["defects"].items()
    ]
    some = f" The first {NAMED} of {len(classes):,}." if len(classes) > NAMED else ""
    what = "objects" if any(each["objects"] is not None for each in found.values()) else "images"
    return [
        *([html.paragraph(evaluation.drawn)] if evaluation is not None else []),
        *(html.paragraph(f"Note: {note}.") for note in record.get("notes", ())),
        *([html.table(rows, "What the splits hold; held-out images count as those of their split.")] if rows else []),
        *([html.table(classes[:NAMED], f"Number of {what} of each class.{some}", row_headers=True)] if classes else []),
        *([html.table(defects, "What was wrong in the files.")] if defects else []),
    ]


def _settings(workdir: Workdir, plan: Plan) -> list[html.Part]:
    choices, record = workdir.provenance().get("choices", {}), workdir.dataset()
    rows = [
        {"key": key, "value": config.setting_text(each["value"]), "because": each["why"]}
        for key, each in choices.items()
    ]
    why = (record.get("transfer") or {}).get("why", "")
    rows += [
        {"key": key, "value": config.setting_text(value), "because": why}
        for key, value in (record.get(CHOSEN) or {}).items()
    ]
    changed = [
        {"key": key, "value": config.setting_text(value)}
        for key, value in changed_settings(plan).items()
        if key not in choices
    ]
    return [
        *([html.table(rows, "What was chosen for these images, and why.", row_headers=True)] if rows else []),
        html.details("Other settings that are not the default", [html.table(changed, row_headers=True)]),
        html.details("The whole config", [html.command(config.to_json(plan.settings))]),
    ]


def _provenance(workdir: Workdir) -> list[html.Part]:
    record = workdir.provenance()
    calls = record.get("calls", ())
    rows = [
        {
            "started": call["started"],
            "versions": ", ".join(f"{name} {version}" for name, version in call["versions"].items()),
            "commit": call["commit"],
            "machine": call["machine"],
        }
        for call in calls
    ]
    if not rows:
        return []
    several = f" {len(rows)} calls: all but the first resumed the run." if len(rows) > 1 else ""
    return [
        html.command("\n".join(dict.fromkeys(call["command"] for call in calls))),
        html.table(rows, f"When and where the run was trained.{several}"),
        html.paragraph(
            f"Fingerprint of the images (names, stamps of their files, annotations): {record['images'][:16]}."
        ),
    ]


def _file(stem: Path) -> Path | None:
    """Returns the file of a figure to show: the SVG, unless it is large; None if there is none."""
    svg, png = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("svg", "png"))
    if svg.is_file() and (svg.stat().st_size <= LARGE or not png.is_file()):
        return svg
    return png if png.is_file() else None
