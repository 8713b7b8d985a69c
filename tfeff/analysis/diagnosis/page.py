"""The page of a diagnosis: what is wrong, and what the images, classes, boxes, copies and suspects look like."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfeff.analysis.diagnosis.classes import counts
from tfeff.analysis.diagnosis.finding import Diagnosis, Finding
from tfeff.analysis.diagnosis.suspects import SECTIONS, Suspects
from tfeff.analysis.diagnosis.thumbnails import ANNOTATED, DETECTED, relative_boxes, thumbnail
from tfeff.analysis.quality import Place, Quality
from tfeff.analysis.quality.near_duplicates import BITS
from tfeff.boxes import area
from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.names import shown
from tfeff.reporting import html

CLASSES = 60
"""Classes with pictures, at most: the most frequent ones and the rarest ones."""
SAMPLES = 6
"""Pictures of a class."""
SHOWN = 24
"""Pictures of a gallery."""
LISTED = 100
"""Suspects in the table."""
COLUMNS = ("rank", "kind", "split", "image", "annotated", "likely", "suspicion", "reason")
"""Columns of the table of suspects."""
GROUPS = 12
"""Groups of copies with pictures."""

FIGURES = {
    "boxes": "Sizes of the training objects at the network's resolution, against its anchors or cells.",
    "training": "The training.",
    "recall": "Share of the objects that reach each stage of the detector.",
    "scores": "Scores of boxes on objects and on the background.",
    "saliency": "The pixels on which the scores of some detections depend most.",
}
"""Captions of the figures of a diagnosis."""
BOX_FIGURES = {
    "box_sizes": "Sizes of the boxes of each split.",
    "box_shapes": "Shapes of the boxes of each split.",
    "box_centers": "Where the centers of the boxes lie, all splits together.",
}
"""Captions of the figures of boxes."""


def write_page(
    diagnosis: Diagnosis,
    splits: Mapping[str, Dataset],
    quality: Quality,
    suspects: Suspects,
    figures: Mapping[str, Path],
    command: str,
) -> str:
    """Returns the page as HTML.

    Args:
        figures: files of the diagnosis' figures and of those of the dataset, by name.
    """

    def drawn(*names: str) -> list[html.Part]:
        return [html.figure(figures[name], FIGURES[name]) for name in names if name in figures]

    annotated = {role: images.uncut for role, images in splits.items()}
    boxes = any(images.has_objects for images in splits.values())
    sections: dict[str, Sequence[html.Part]] = {
        "What is wrong": [*_links(diagnosis)],
        "Images and classes": [*_annotated(annotated), *_classes(splits, quality, figures)],
        "Boxes": _boxes(annotated, figures),
        "Copies": [*_copies(quality)],
        "Odd images": [*_odd(quality)],
        "Groups that splits separate": [*_groups(quality)],
        f"{'Labels and boxes' if boxes else 'Labels'} that look wrong": [*_suspects(suspects, boxes)],
        "Network": drawn("boxes", "training", "recall", "scores", "saliency"),
        "Command": [html.command(command)],
    }
    return html.page(f"Analysis of {shown(diagnosis.subject)}", sections, summary=_summary(diagnosis))


def _summary(diagnosis: Diagnosis) -> str:
    if not diagnosis.broken:
        return "Nothing is wrong with the links that were checked."
    first = diagnosis.broken[0]
    return f"First broken link: {first.name}. {first.faults[0].sentence}"


def _links(diagnosis: Diagnosis) -> Iterator[html.Part]:
    yield html.table(
        [
            {
                "link": link.name,
                "result": link.status,
                "question": link.question + (f" ({link.skipped})" if link.skipped else ""),
            }
            for link in diagnosis.links
        ],
        "The links of the chain, in order: a broken one also harms those after it.",
        row_headers=True,
    )
    for link in diagnosis.broken:
        yield html.details(
            f"{link.name}: broken", [part for each in link.faults for part in _finding(each)], opened=True
        )
    for link in diagnosis.links:
        if link.notes:
            title = f"{link.name}: {len(link.notes)} notes" if len(link.notes) > 1 else f"{link.name}: 1 note"
            yield html.details(title, [part for each in link.notes for part in _finding(each)], opened=True)


def _finding(finding: Finding) -> Iterator[html.Part]:
    yield html.paragraph(finding.sentence)
    for name, text in (("Where", "; ".join(map(str, finding.evidence))), ("What to do", finding.fix)):
        if text:
            yield html.paragraph(f"{name}: {text}")


def _annotated(splits: Mapping[str, Dataset]) -> Iterator[html.Part]:
    """Yields some images of each split with their boxes."""
    pictures = list[html.Part]()
    for role, images in splits.items():
        for index in evenly_spaced(len(images), SAMPLES).tolist() if images.has_objects else ():
            names = Counter(images.class_names[label] for label in images.objects[index].labels)
            text = ", ".join(f"{number} {shown(name)}" for name, number in names.most_common(3)) or "no objects"
            boxes = [(box, ANNOTATED) for box in relative_boxes(images, index)]
            pictures += [
                html.picture(pixels, [f"{role}: {name}", text + (", …" if len(names) > 3 else "")])
                for pixels, name in thumbnail(images, index, boxes=boxes)
            ]
    if pictures:
        yield html.gallery("Are the boxes on the objects?", pictures)


def _classes(splits: Mapping[str, Dataset], quality: Quality, figures: Mapping[str, Path]) -> Iterator[html.Part]:
    train = next(iter(splits.values()))
    alike = {role: images for role, images in splits.items() if images.class_names == train.class_names}
    sizes = {role: np.array([one.size for one in quality.surveys[role].measured] or [(0, 0)]) for role in splits}
    yield html.table(
        [
            {
                "split": role,
                "images": len(images),
                **({"objects": sum(map(len, images.objects))} if images.has_objects else {}),
                "examined": quality.surveys[role].examined,
                "unreadable": len(quality.surveys[role].unreadable),
                "median size": "{:.0f} x {:.0f}".format(*np.median(sizes[role], axis=0)[::-1]),
            }
            for role, images in splits.items()
        ],
        "Sizes are width x height in pixels.",
        row_headers=True,
    )
    for note in dict.fromkeys(note for images in splits.values() for note in images.notes):
        yield html.paragraph(f"Note: {note}.")
    if not (train.has_labels or train.has_objects):
        return
    if "class_counts" in figures:
        noun = "Objects" if train.has_objects else "Images"
        yield html.figure(figures["class_counts"], f"{noun} of each class, by split.")
    by_role = {role: counts(images)[:-2] for role, images in alike.items()}
    total = np.sum(list(by_role.values()), axis=0)
    order = np.argsort(-total, kind="stable").tolist()
    chosen = order if len(order) <= CLASSES else [*order[: CLASSES // 2], *order[-CLASSES // 2 :]]
    if len(chosen) < len(order):
        yield html.paragraph(
            f"Of {len(order):,} classes, the {CLASSES // 2} most frequent and the {CLASSES // 2} rarest have pictures."
        )
    examples = _examples(train, set(chosen))
    for label in chosen:
        numbers = ", ".join(f"{role} {int(each[label]):,}" for role, each in by_role.items())
        pictures = [
            html.picture(pixels, [name])
            for index, box in examples.get(label, [])
            for pixels, name in thumbnail(train, index, crop=box)
        ]
        title = f"{shown(train.class_names[label])}: {numbers}"
        yield html.gallery(title, pictures) if pictures else html.paragraph(f"{title}; no training image shows it.")


def _examples(images: Dataset, classes: set[int]) -> dict[int, list[tuple[int, npt.NDArray[np.float64] | None]]]:
    """Returns images of each class, evenly spaced, and the boxes of their objects, relative to the image."""
    places = dict[int, list[tuple[int, int | None]]]({label: [] for label in classes})
    if images.has_labels:
        for index, label in enumerate(images.labels.tolist()):
            if label in classes:
                places[label].append((index, None))
    else:
        for index, objects in enumerate(images.objects):
            for number, label in enumerate(objects.labels.tolist()):
                if label in classes:
                    places[label].append((index, number))
    found = dict[int, list[tuple[int, npt.NDArray[np.float64] | None]]]()
    for label, each in places.items():
        for place in evenly_spaced(len(each), SAMPLES).tolist() if each else ():
            index, number = each[place]
            box = None if number is None else relative_boxes(images, index)[number]
            found.setdefault(label, []).append((index, box))
    return found


def _boxes(splits: Mapping[str, Dataset], figures: Mapping[str, Path]) -> list[html.Part]:
    train = next(iter(splits.values()))
    if not train.has_objects or "box_sizes" not in figures:
        return []
    parts = [html.columns([html.figure(figures[name], text) for name, text in BOX_FIGURES.items()])]
    owners = np.repeat(np.arange(len(train)), [len(each) for each in train.objects])
    boxes = np.concatenate([relative_boxes(train, index) for index in range(len(train))])
    areas = area(boxes)
    for title, sign in (("The smallest objects", 1), ("The largest objects", -1)):
        pictures = [
            html.picture(pixels, [f"{100 * areas[place]:.2g} % of the image", name])
            for place in _lowest(sign * areas, SAMPLES)
            for pixels, name in thumbnail(train, owners[place], crop=boxes[place])
        ]
        parts.append(html.gallery(title, pictures))
    return parts


def _lowest(values: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.int64]:
    """Returns the places of the lowest values, in their order, in linear time."""
    places = np.argpartition(values, most - 1)[:most] if len(values) > most else np.arange(len(values))
    return places[np.lexsort((places, values[places]))]


def _copies(quality: Quality) -> Iterator[html.Part]:
    copies = quality.copies
    if copies.alike:
        yield html.paragraph(
            f"{copies.alike:,} images look so much alike that near duplicates cannot be told among them; of these, "
            "only equal files are listed."
        )
    if copies.bits < BITS:
        yield html.paragraph(
            "So many images look alike that only those whose perceptual hashes differ in at most "
            f"{copies.bits} of 64 bits were compared."
        )
    if not copies.groups:
        yield html.paragraph("No copies were found.")
        return
    yield html.paragraph(
        f"Images that are equal, encoded again, resized, brightened, mirrored or slightly cropped: "
        f"{sum(map(len, copies.groups)):,}. Groups of them: {len(copies.groups):,}, of which {len(copies.across):,} "
        "have images of several splits."
    )
    yield from _group_galleries(quality, {f"copies {n}": each for n, each in enumerate(copies.groups, 1)})


def _group_galleries(quality: Quality, groups: Mapping[str, Sequence[Place]]) -> Iterator[html.Part]:
    for name, group in list(groups.items())[:GROUPS]:
        roles = ", ".join(dict.fromkeys(role for role, _ in group))
        pictures = _pictures(quality, list(group)[:SAMPLES])
        yield html.gallery(f"{shown(name)} ({roles}): {len(group)} images", pictures)
    if len(groups) > GROUPS:
        yield html.paragraph(f"The first {GROUPS} of {len(groups):,} groups; analysis.json lists all.")


def _pictures(quality: Quality, places: Sequence[Place]) -> list[html.Part]:
    found = list[html.Part]()
    for role, index in places:
        survey = quality.surveys[role]
        for pixels, name in thumbnail(survey.images, survey.indices[index]):
            found.append(html.picture(pixels, [role, name]))
    return found


def _odd(quality: Quality) -> Iterator[html.Part]:
    for name, each in quality.odd.items():
        count = f"{len(each.places):,} images {each.what}."
        if each.usual:
            yield html.paragraph(f"{count} This is usual here, so they are not shown.")
            continue
        yield html.gallery(f"{name.capitalize()}: {len(each.places):,} images", _pictures(quality, each.places[:SHOWN]))
        yield html.paragraph(f"These {each.what}." + ("" if len(each.places) <= SHOWN else f" The first {SHOWN}."))


def _groups(quality: Quality) -> Iterator[html.Part]:
    for grouping in quality.groupings:
        if not grouping.across:
            continue
        yield html.paragraph(
            f"{grouping.what[0].upper()}{grouping.what[1:]}: {len(grouping.across):,} of {len(grouping.groups):,} "
            "groups have images of several splits."
        )
        yield from _group_galleries(quality, grouping.across)


def _suspects(suspects: Suspects, boxes: bool) -> Iterator[html.Part]:
    if suspects.why_none:
        yield html.paragraph(suspects.why_none)
    if not suspects.found:
        return
    number = ", ".join(f"{len(images):,} of {split}" for split, images in suspects.images.items())
    yield html.paragraph(
        f"The network predicted images that it was not trained on: {number or 'none'}. "
        f"{'Green: annotated; red: detected. ' if boxes else ''}If the network is weak, many of these are its own "
        "errors: look at the images. To examine the training images, train a run for each fold (data.folds, "
        "data.fold), and analyze each."
    )
    for kind, found in suspects.found.items():
        pictures = [
            html.picture(pixels, [suspect.text, f"{suspect.split}: {name}"])
            for suspect in found[:SHOWN]
            for pixels, name in thumbnail(
                suspects.images[suspect.split],
                suspect.image,
                crop=_around(suspect.annotated, suspect.detected),
                boxes=[(suspect.annotated, ANNOTATED), (suspect.detected, DETECTED)],
            )
        ]
        what = f"{SECTIONS[kind][0].upper()}{SECTIONS[kind][1:]}"
        if pictures:
            yield html.gallery(f"{what}: {len(found):,}", pictures)
        else:
            yield html.paragraph(f"{what}: none.")
    rows = suspects.rows()
    if rows:
        first = [{key: row[key] for key in COLUMNS} for row in rows[:LISTED]]
        title = f"The first {len(first):,} of {len(rows):,} suspects" if len(first) < len(rows) else "All suspects"
        caption = f"suspects.csv has all{', with boxes in pixels' if boxes else ''}."
        yield html.details(title, [html.table(first, caption)])


def _around(*boxes: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
    known = np.array([box for box in boxes if box is not None])
    return np.concatenate([known[:, :2].min(axis=0), known[:, 2:].max(axis=0)]) if len(known) else None
