"""The page of a comparison of classifiers: numbers, figures and galleries in one self-contained HTML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.analysis.comparison.classifiers.figures import GALLERIES
from tfeff.analysis.comparison.classifiers.insight import SHOWN, Insight
from tfeff.analysis.comparison.files import cost_columns, timed_formats
from tfeff.analysis.comparison.thumbnails import Thumbnails
from tfeff.analysis.comparison.verdict import LEVEL, difference_row
from tfeff.reporting import html
from tfeff.reporting.tables import percent
from tfeff.reports.classification import file_name

LISTED = 200
"""Examples listed in a table."""
NAMED = 6
"""Models whose predictions are listed under a picture."""


def comparison_page(
    insight: Insight, figures: Mapping[str, tuple[Path, str]], thumbnails: Thumbnails, command: str
) -> str:
    """Returns the page, with the files and captions of figures by name.

    The names of a single model's figures are `<name>_<index>`.
    """

    def shown(*names: str) -> list[html.Part]:
        return [html.figure(*figures[name]) for name in names if name in figures]

    order = insight.ranking
    curves = [name for name in figures if name.startswith("curve_")]
    sections: dict[str, Sequence[html.Part]] = {
        "Models": [
            *(html.paragraph(f"Note: {note}.") for note in insight.notes),
            html.table(model_table(insight), _table_caption(insight), row_headers=True),
            html.columns(shown(*(name for name in figures if name.startswith("accuracy_")))),
        ],
        "Differences": [
            html.paragraph(
                "All models classified the same examples, so their accuracies are compared example by example: "
                "McNemar's test, with mid-p-values adjusted for the number of pairs by Holm's method. Two models are "
                f"called separable if the adjusted p-value is below {LEVEL:g}."
            ),
            html.table(difference_table(insight), "Accuracy of the first model minus that of the second."),
            *shown("differences"),
        ]
        if insight.differences
        else [],
        "Training": [html.columns(shown(*curves))] if curves else [],
        "Classes": [
            *_hardest_classes(insight),
            html.columns(shown("class_distribution", "class_accuracy")),
            *(
                html.details(
                    f"Confusion of {insight.model_names[i]}",
                    [html.table(_pair_table(insight, i), "The most frequent errors."), *shown(f"confusion_{i}")],
                )
                for i in order
            ),
        ],
        "Predictions matrix": [
            html.paragraph(_matrix_text(insight)),
            *shown("predictions_matrix"),
            html.details("Misclassified examples", [html.table(*_missed_table(insight))]),
        ],
        "Examples": [
            html.gallery(title, [_example(insight, thumbnails, int(i)) for i in insight.examples[name]])
            for name, title in GALLERIES.items()
            if len(insight.examples[name])
        ],
        "Labels that look wrong": _label_section(insight, thumbnails),
        "Class activation maps": shown("class_activation"),
        "Calibration": [html.columns(shown(*(f"reliability_{i}" for i in order)))],
        "Embedding": [
            html.columns(shown(*(f"embedding_{i}" for i in order))),
            html.paragraph(
                "TensorBoard's projector shows the same features in three dimensions, with thumbnails. In the "
                "directory of this page:"
            ),
            html.command("tensorboard --logdir=tensorboard"),
        ],
        "Command": [html.command(command)],
    }
    count = len(insight.model_names)
    return html.page(
        f"Comparison of {count} models" if count > 1 else f"Analysis of {insight.model_names[0]}",
        sections,
        summary=insight.summary,
    )


def model_table(insight: Insight) -> list[dict[str, Any]]:
    """Returns the models as rows of text and numbers for people."""
    rows, formats = [], timed_formats(insight.costs)
    for i, row in zip(insight.ranking, insight.model_rows(), strict=True):
        low, high = row["accuracy_interval"]
        line = {
            "model": row["name"],
            "network": f"{row['network']} at {row['resolution']} px",
            "accuracy (%), 95 % interval": f"{100 * row['accuracy']:.2f} ({100 * low:.1f} to {100 * high:.1f})",
            "macro average precision": f"{row['macro_average_precision']:.3f}",
            "log loss": f"{row['log_loss']:.3f}",
            "calibration error (%)": f"{100 * row['calibration_error']:.1f}",
            **cost_columns(insight.costs[i], formats),
        }
        published = row["imagenet_top1"]
        line["ImageNet top-1 (%)"] = None if published is None else f"{100 * published:.1f}"
        rows.append(line)
    if all(row["ImageNet top-1 (%)"] is None for row in rows):
        rows = [{key: value for key, value in row.items() if not key.startswith("ImageNet")} for row in rows]
    return rows


def difference_table(insight: Insight) -> list[dict[str, Any]]:
    """Returns the pairs of models as rows of text and numbers for people."""
    return [
        difference_row(row, {"only first correct": row["only_first"], "only second correct": row["only_second"]})
        for row in insight.differences
    ]


def _table_caption(insight: Insight) -> str:
    caption = (
        "The models side by side, the most accurate first. Milliseconds: one image, the exported model with "
        "its decoding, median and quartiles, on this machine."
    )
    if any(cost.imagenet_top1 is not None for cost in insight.costs):
        caption += " ImageNet top-1: published accuracy of the weights that training started from, at their resolution."
    return caption


def _hardest_classes(insight: Insight) -> list[html.Part]:
    """Returns which classes have images that every model misclassifies, if any has."""
    if not insight.hardest_classes:
        return []
    images = np.bincount(insight.labels, minlength=len(insight.class_names))
    rows = [
        {
            "class": insight.class_names[c],
            "missed by every model": int(insight.missed_by_class[c]),
            "images": int(images[c]),
            "share": percent(insight.missed_by_class[c] / images[c]),
        }
        for c in insight.hardest_classes
    ]
    first, caption = rows[0], f"Images that every model misclassifies, by class.{_left_out(len(rows))}"
    text = (
        f"The hardest class is {first['class']}: every model misclassifies {first['missed by every model']:,} of its "
        f"{first['images']:,} images; no class has more such images."
    )
    return [html.paragraph(text), html.details("All classes", [html.table(rows[:LISTED], caption)])]


def _pair_table(insight: Insight, index: int) -> list[dict[str, Any]]:
    return [
        {
            "true class": row["true"],
            "predicted as": row["predicted"],
            "images": row["images"],
            "share of class (%)": f"{100 * row['share']:.1f}",
        }
        for row in insight.confused_pairs(index)
    ] or [{"true class": "no errors"}]


def _matrix_text(insight: Insight) -> str:
    matrix, count = insight.matrix, len(insight.labels)
    text = (
        f"{len(matrix.missed_by_all):,} of {count:,} examples are misclassified by every model; "
        f"{100 * matrix.best_possible:.1f} % are classified correctly by at least one. "
    )
    own = [f"{len(matrix.missed_only_by(i)):,} by {insight.model_names[i]}" for i in insight.ranking]
    return text + (f"Misclassified by one model alone: {', '.join(own)}." if len(own) > 1 else "")


def _missed_table(insight: Insight) -> tuple[list[dict[str, Any]], str]:
    """Returns the examples of the predictions matrix as rows, and a caption."""
    missed = insight.matrix.missed_by_any
    rows = []
    for index in missed[:LISTED]:
        example = insight.example(int(index))
        predictions = _predictions(insight, example)
        shown = {name: f"{mark} {text}" for name, (mark, text) in predictions.items()}
        rows.append({"image": example["id"], "label": example["label"], **shown})
    return rows or [{"image": "none"}], f"In the order of the figure.{_left_out(len(missed))}"


def _left_out(count: int) -> str:
    """Returns a sentence about the rows of a table that are not listed, if there are any."""
    return f" The first {LISTED} of {count:,}; report.json has all." if count > LISTED else ""


def _predictions(insight: Insight, example: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Returns model -> whether it is right, and its prediction, the most accurate model first."""
    named = {insight.model_names[i]: example["predictions"][insight.model_names[i]] for i in insight.ranking}
    return {
        name: ("✓" if each["correct"] else "✗", f"{each['class']} ({percent(each['probability'])})")
        for name, each in named.items()
    }


def _example(insight: Insight, thumbnails: Thumbnails, index: int) -> html.Part:
    """Returns a picture with its label and the predictions of the models."""
    example = insight.example(index)
    predictions = list(_predictions(insight, example).items())[:NAMED]
    lines = [f"labeled {example['label']}", *(f"{mark} {name}: {text}" for name, (mark, text) in predictions)]
    if len(insight.model_names) > NAMED:
        lines.append(f"and {len(insight.model_names) - NAMED} more models")
    return html.picture(thumbnails[index], [*lines, file_name(example["id"])])


def _label_section(insight: Insight, thumbnails: Thumbnails) -> list[html.Part]:
    found, rows = insight.label_errors, insight.suspects()
    count = len(rows)
    parts: list[html.Part] = [
        html.paragraph(
            "Confident learning (Northcutt et al. 2021) on the averaged probabilities of the models: confident "
            "predictions estimate how many labels of each class are wrong. At most as many are listed: those with the "
            "lowest probability, unless the label is the most probable class. "
            f"{count:,} of {len(insight.labels):,} labels are suspicious; estimated share of wrong labels: "
            f"{100 * found.estimated_share:.1f} %. If the models are weak, many of these are errors of the models: "
            "look at the images."
        )
    ]
    if count:
        pictures = [
            html.picture(
                thumbnails[int(index)],
                [
                    f"labeled {row['label']} ({percent(row['label_probability'])})",
                    f"likely {row['likely']} ({percent(row['likely_probability'])})",
                    file_name(row["id"]),
                ],
            )
            for index, row in zip(found.suspects[:SHOWN], rows, strict=False)
        ]
        table = [
            {
                "image": row["id"],
                "label": row["label"],
                "likely": row["likely"],
                "probability of label": row["label_probability"],
                "of likely class": row["likely_probability"],
            }
            for row in rows[:LISTED]
        ]
        parts += [
            html.gallery("The most suspicious labels", pictures),
            html.details(
                "List", [html.table(table, f"Suspicious labels, the most suspicious first.{_left_out(count)}")]
            ),
        ]
    return parts
