"""The page of a comparison of detectors: numbers, figures and images in one self-contained HTML file."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.analysis.comparison.detectors.insight import ENOUGH_IMAGES, SHOWN, Insight
from tfeff.analysis.comparison.files import cost_columns, timed_formats
from tfeff.analysis.comparison.verdict import LEVEL, difference_row, points_interval
from tfeff.reporting import html, published
from tfeff.reporting.detection import ERROR_NAMES
from tfeff.reporting.gallery import LEGEND
from tfeff.reporting.tables import cell
from tfeff.reports.detection import difficult_note
from tfeff.reports.evaluator import short_names


def comparison_page(
    insight: Insight, figures: Mapping[str, tuple[Path, str]], drawn: Mapping[int, Sequence[np.ndarray]], command: str
) -> str:
    """Returns the page.

    Args:
        figures: files and captions of figures by name; those of a single detector are `<name>_<index>`.
        drawn: index of an image in which the detectors differ -> how it is drawn for each of them, uint8 [height,
            width, 3], in the order of the detectors.
    """

    def shown(*names: str) -> list[html.Part]:
        return [html.figure(*figures[name]) for name in names if name in figures]

    curves = [name for name in figures if name.startswith("curve_")]
    sections: dict[str, Sequence[html.Part]] = {
        "Detectors": [
            *(html.paragraph(f"Note: {note}.") for note in insight.notes),
            html.table(model_table(insight), _MODELS + _difficult(insight), row_headers=True),
            html.columns(shown(*(name for name in figures if name.startswith("accuracy_")))),
        ],
        "Differences": [
            html.paragraph(
                "All detectors saw the same images, so they are compared on the same resamples of these images. "
                "p-values are adjusted for the number of pairs by Holm's method. Two detectors are called separable if "
                f"the adjusted p-value is below {LEVEL:g}. The intervals do not cover the randomness of training."
            ),
            html.table(difference_table(insight), "mAP of the first detector minus that of the second."),
            *shown("differences"),
        ],
        "Training": [html.columns(shown(*curves))] if curves else [],
        "Classes and sizes": [
            html.table(class_table(insight), f"Average precision (IoU 0.5) of each class.{_PAIRED}", row_headers=True),
            html.table(
                size_table(insight),
                f"COCO AP of objects by area: below 32² pixels, below 96², and above.{_PAIRED}{_difficult(insight)}",
                row_headers=True,
            ),
            *shown("class_ap"),
        ],
        "Errors": [html.table(error_table(insight), _ERRORS, row_headers=True), *shown("errors")],
        "Where they differ": _contrasts(insight, drawn),
        "Each detector": [
            html.details(insight.model_names[i], [html.columns(shown(f"precision_recall_{i}", f"confusion_{i}"))])
            for i in insight.ranking
        ],
        "Published detectors": [
            *shown("published"),
            html.details("Table with sources", [html.table(published_table(), _PUBLISHED, row_headers=True)]),
        ],
        "Command": [html.command(command)],
    }
    return html.page(f"Comparison of {len(insight.model_names)} detectors", sections, summary=insight.summary)


_MODELS = (
    "The detectors side by side, the highest mAP (IoU 0.5) first. Milliseconds: one image, the exported model with "
    "decoding and suppression, median and quartiles, on this machine; models that read region proposals are not timed."
)
_ERRORS = (
    "Types of errors: at each detector's score threshold, and in parentheses the gain in mAP, in points, if all of a "
    "type were fixed, whatever their score."
)
_PAIRED = (
    " In parentheses: the difference from the detector with the highest mAP, in points, with the 95 % interval of the "
    "same resamples of the images, not adjusted for the number of comparisons. Too few images: fewer than "
    f"{ENOUGH_IMAGES} have such objects."
)
_PUBLISHED = (
    "Published detectors, single model and single scale. Ratios are relative to the smallest EfficientDet that is at "
    "least as accurate. GPU: Titan V, float32; CPU: one thread of a Xeon."
)


def _difficult(insight: Insight) -> str:
    """Returns a sentence on difficult objects, if there are any."""
    note = difficult_note(insight.reports[0].coco)
    return f" COCO AP {note}; mAP leaves them out." if note else ""


def model_table(insight: Insight) -> list[dict[str, Any]]:
    """Returns the detectors as rows of text for people, the best first."""
    rows, formats = [], timed_formats(insight.costs)
    for i in insight.ranking:
        report = insight.reports[i]
        low, high = (cell(end) for end in report.mean_ap_interval)
        rows.append(
            {
                "detector": insight.model_names[i],
                "network": insight.networks[i],
                "mAP, 95 % interval": f"{cell(report.mean_ap)} ({low} to {high})",
                "COCO AP": cell(report.coco["ap"]),
                "AP, IoU 0.75": cell(report.coco["ap75"]),
                **cost_columns(insight.costs[i], formats),
            }
        )
    return rows


def difference_table(insight: Insight) -> list[dict[str, Any]]:
    """Returns the pairs of detectors as rows of text for people."""
    return [
        difference_row(row, {"of COCO AP (points), 95 % interval": _points(row["coco_ap"])})
        for row in insight.differences
    ]


def class_table(insight: Insight) -> list[dict[str, Any]]:
    """Returns the average precision of each class."""
    return [
        {"class": row["name"], "objects": row["objects"], **_compared(insight, row)} for row in insight.class_rows()
    ]


def size_table(insight: Insight) -> list[dict[str, Any]]:
    """Returns COCO AP by the size of objects."""
    return [{"objects": row["name"], **_compared(insight, row)} for row in insight.size_rows()]


def _compared(insight: Insight, row: Mapping[str, Any]) -> dict[str, str]:
    """Returns the average precision of each detector, and the differences from the best one."""
    texts = {}
    for name in (insight.model_names[i] for i in insight.ranking):
        ap, difference = row["ap"][name], row["differences"].get(name)
        texts[name] = cell(ap) if difference is None or math.isnan(ap) else f"{cell(ap)} ({_points(difference)})"
    return texts


def _points(difference: Mapping[str, float]) -> str:
    """Returns a difference with its interval, in percentage points."""
    return f"{100 * difference['difference']:+.1f}, {points_interval(difference)}"


def error_table(insight: Insight) -> list[dict[str, Any]]:
    """Returns the number of errors of each type, and the gain in mAP if they were fixed."""
    errors = {insight.model_names[i]: insight.errors(i) for i in insight.ranking}
    return [
        {
            "error": ERROR_NAMES[kind],
            **{name: f"{of[kind]['count']:,} ({100 * of[kind]['gain']:+.1f})" for name, of in errors.items()},
        }
        for kind in insight.errors(0)
    ]


def published_table() -> list[dict[str, Any]]:
    """Returns the published detectors."""
    family = [each for each in published.detectors() if each.name.startswith(published.DETECTOR_FAMILY)]
    rows = []
    for each in published.detectors():
        base = min((other for other in family if other.ap >= each.ap), key=lambda other: other.macs)
        rows.append(
            {
                "detector": each.name,
                "COCO AP (%)": f"{100 * each.ap:.1f}",
                "images": each.split,
                "parameters (M)": each.params and f"{each.params / 1e6:.3g}",
                "multiply-adds (G)": f"{each.macs / 1e9:,.10g}",
                "ratio": _ratio(each.macs, base.macs),
                "GPU (ms)": each.gpu_seconds and f"{1e3 * each.gpu_seconds:.0f}",
                "GPU ratio": _ratio(each.gpu_seconds, base.gpu_seconds),
                "CPU (s)": each.cpu_seconds and f"{each.cpu_seconds:g}",
                "CPU ratio": _ratio(each.cpu_seconds, base.cpu_seconds),
                "source": each.source,
            }
        )
    return rows


def _ratio(cost: float | None, base: float | None) -> str | None:
    return None if cost is None or base is None else f"{cost / base:.2g}"


def _contrasts(insight: Insight, drawn: Mapping[int, Sequence[np.ndarray]]) -> list[html.Part]:
    if not drawn:
        return [html.paragraph("All detectors are equally good in every image.")]
    names = short_names(insight.ids)
    parts = [
        html.paragraph(
            f"The {min(SHOWN, len(insight.contrasts))} of {len(insight.contrasts):,} images in which the quality "
            "(panoptic quality of boxes, from 0 to 1, at each detector's score threshold) differs most between two "
            f"detectors. {LEGEND[0].upper()}{LEGEND[1:]}."
        )
    ]
    for image, pictures in drawn.items():
        shown = [
            html.picture(pictures[i], [insight.model_names[i], f"quality {insight.quality[i, image]:.2f}"])
            for i in insight.ranking
        ]
        parts.append(html.gallery(names[insight.ids[image]], shown, large=True))
    return parts
