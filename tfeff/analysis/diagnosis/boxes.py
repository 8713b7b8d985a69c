"""The second link: whether the boxes lie where the objects are."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tfeff.analysis.diagnosis import image_evidence
from tfeff.analysis.diagnosis.alternatives import ROTATIONS, Reading, axis_changes, readings, rescaled
from tfeff.analysis.diagnosis.annotations import (
    IMAGES,
    Annotations,
    Boxes,
    Transform,
    is_plausible,
    shifted_pairs,
    unchanged,
)
from tfeff.analysis.diagnosis.finding import Finding, Link, listed, share
from tfeff.analysis.diagnosis.image_evidence import Preference, prefer
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.boxes import relative_from_yxyx, yxyx_from_relative
from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.sources.annotations import OF_SEVERAL_CLASSES, REPEATED
from tfeff.reporting.tables import percent

Place = tuple[int, int]
"""Indices of an image and of a box in it."""
DAMAGES = {
    "not finite": ("are not finite numbers", "correct the export: NaN comes from a division by zero"),
    "without area": (
        "have no area: their width or height is 0",
        "delete them or draw them again; readers drop them, so their objects train as background",
    ),
    "swapped": ("have their corners swapped", "write the smaller coordinate first; readers correct this"),
    "outside": (
        "lie outside their images",
        "check that the annotations belong to these images: the same files, neither resized nor rotated",
    ),
    "tiny": ("are smaller than a pixel", "check the unit of the coordinates"),
}
"""Kind of damage -> what is wrong with such boxes, what to do."""
INVALID = {
    "invalid line": "write five numbers per line: class, center x, center y, width, height; or a class and a polygon, "
    "x1 y1 x2 y2 x3 y3 ...; a confidence from 0 to 1 may follow",
    "object without a complete box": "give every object xmin, ymin, xmax and ymax as numbers",
    "object without a box or a class": "give every object a category_id and four numbers (bbox), or a segmentation",
}
"""Defects without a box -> what to do."""


def check_boxes(box_format: tuple[str, str] | None, splits: Mapping[str, Dataset]) -> Link:
    """Checks the boxes; `box_format`: how they were read, see `Source.box_format`."""
    by_role = {role: Annotations.of(images) for role, images in splits.items()}
    totals, found = Counter[int](), dict[str, Finding]()
    for annotations in by_role.values():
        totals[id(annotations.images.defects)] += annotations.count  # parts of one split share its defects
    reading = None if box_format is None else Reading(*box_format)
    for role, annotations in by_role.items():
        for finding in _findings(annotations, reading, totals[id(annotations.images.defects)]):
            found.setdefault(finding.what, replace(finding, role=role))  # not again for each split
    findings = list(found.values())
    if not any(finding.broken for finding in findings):
        findings += list(shifted_pairs(splits)) or [
            replace(finding, role=role)
            for role, annotations in by_role.items()
            for finding in _of_other_images(annotations)
        ]
    return Link(
        name="boxes",
        question="are the boxes where the objects are?",
        findings=findings,
        measured={
            role: {"boxes": annotations.count, "plausible_boxes": round(annotations.valid, 4)}
            for role, annotations in by_role.items()
        },
    )


def _findings(annotations: Annotations, reading: Reading | None, total: int) -> list[Finding]:
    """Returns findings of one split; `total`: number of boxes of the split that its defects are of."""
    findings = list(_invalid_lines(annotations.images, total))
    if not annotations.count:
        return findings
    findings += _sideways(annotations)
    if not any(finding.broken for finding in findings) and annotations.valid < 1:
        wrong = annotations.valid < limit("valid_reading")
        findings += (_wrong_format(annotations, reading) if wrong else []) or _damaged(annotations)
    if not any(finding.broken for finding in findings):
        # Plausible boxes that do not fit the pixels, or only use a corner of the images.
        findings += (
            _on_padding(annotations)
            or list(_better_alternative(annotations, reading))
            or [*_wrong_sizes(annotations), *_in_a_corner(annotations)]
        )
    return [*findings, *_placeholders(annotations), *_sharing_a_box(annotations.images, total)]


def _invalid_lines(images: Dataset, boxes: int) -> Iterator[Finding]:
    """Yields annotations from which no box could be read; `boxes`: number of the others."""
    defects = images.defects
    for kind, fix in INVALID.items():
        count = defects.counts[kind]
        if count:
            yield Finding(
                what=f"{share(count, boxes + count, 'objects')}: {kind}.",
                broken=count > limit("damaged_boxes") * (boxes + count),
                measured={"objects": count},
                evidence=defects.examples[kind],
                fix=fix,
            )


def _sideways(annotations: Annotations) -> Iterator[Finding]:
    """Yields images whose height and width are swapped in their annotations."""
    images = [
        index
        for index, (size, stated) in enumerate(zip(annotations.sizes, annotations.annotated_sizes, strict=True))
        if size[0] != size[1] and stated == size[::-1]
    ]
    places = [(index, number) for index in images for number in range(len(annotations.raw_boxes[index]))]
    if len(images) <= limit("wrong_image_sizes") * len(annotations.sizes) or not places:
        return
    sample = [images[place] for place in evenly_spaced(len(images), IMAGES)]
    directions = {name: annotations.by_size(turned) for name, turned in ROTATIONS.items()}
    fits = {name: annotations.fits(transform, sample) for name, transform in directions.items()}
    clockwise = prefer(fits["clockwise"], fits["counterclockwise"]).wins >= 0.5
    direction = "clockwise" if clockwise else "counterclockwise"
    preference = prefer(fits[direction], annotations.fits(images=sample))
    names = listed([annotations.images.ids[index] for index in images])
    part = share(len(images), len(annotations.sizes), "images")
    if preference.wins <= 0.5 and annotations.valid >= limit("valid_reading"):
        yield Finding(
            what=f"the annotations of {part} state height and width in swapped order; the boxes fit the images.",
            broken=False,
            measured={"images": len(images)},
            evidence=[names],
        )
        return
    yield Finding(
        what=f"{part} are stored sideways: their annotations state height and width in swapped order. The boxes "
        f"were drawn on images rotated by 90 degrees {direction}, as viewers "
        " show photographs with an EXIF orientation.",
        measured={
            "images": len(images),
            "boxes_that_fit_better_rotated": round(preference.wins, 3),
            "boxes_compared": preference.count,
        },
        evidence=[names, *_examples(annotations, places, directions[direction])],
        fix="save these images upright (their orientation was probably lost when they were saved again); do not "
        "scale the boxes",
    )


def _wrong_format(annotations: Annotations, reading: Reading | None) -> list[Finding]:
    """Returns another format in which practically all boxes lie inside their images; or all boxes of the images in
    which some do not."""
    as_read = annotations.plausible()
    affected = as_read < annotations.counts
    plausible = [(each, annotations.plausible(each.transform)) for each in readings(annotations, reading)]
    enough = max(limit("valid_reading"), annotations.valid + limit("valid_gain")) * annotations.count
    good = [
        (each, found)
        for each, found in plausible
        if found.sum() >= enough and max(_reach(annotations, each.transform)) >= limit("corner_extent")
    ]
    images, part = annotations.sample, ""
    if not good and affected.sum() >= limit("mixed_images"):
        enough = limit("mixed_reading") * annotations.counts[affected].sum()
        good = [(each, found) for each, found in plausible if each.same_unit and found[affected].sum() >= enough]
        images = np.flatnonzero(affected)[:IMAGES].tolist()
        part = f"in {share(int(affected.sum()), len(affected), 'images')}, "
    if not good:
        return []
    fits = [annotations.fits(each.transform, images) for each, _ in good]

    def rank(number: int) -> tuple[int, int]:
        """Returns how many others fit the images worse; of equals, the first one is preferred."""
        return sum(prefer(fits[number], other).z > limit("worse_z") for other in fits), -number

    best, found = good[max(range(len(good)), key=rank)]
    return [
        Finding(
            what=f"{part}{best.what}.",
            measured={
                "plausible_as_read": round(annotations.valid, 4),
                "plausible_as_explained": round(float(found.sum()) / annotations.count, 4),
                "boxes": annotations.count,
            },
            evidence=_examples(annotations, _implausible(annotations), best.transform),
            fix=best.fix,
        )
    ]


def _damaged(annotations: Annotations) -> list[Finding]:
    """Returns boxes that are implausible in every format, by what is wrong with them."""
    findings, kinds = list[Finding](), dict[str, list[Place]]()
    for index, (boxes, size) in enumerate(zip(annotations.raw_boxes, annotations.sizes, strict=True)):
        for number, box in enumerate(boxes):
            if kind := _damage(box, size):
                kinds.setdefault(kind, []).append((index, number))
    for kind, places in kinds.items():
        reach = max(
            float((annotations.raw_boxes[index][number][2:] / np.array(annotations.sizes[index])).max())
            for index, number in places
        )
        scale = f" They reach up to {reach:.2f} times the size of the image." if kind == "outside" and reach > 0 else ""
        what, fix = DAMAGES[kind]
        findings.append(
            Finding(
                what=f"{share(len(places), annotations.count, 'boxes')} {what}.{scale}",
                broken=len(places) > limit("damaged_boxes") * annotations.count and kind != "swapped",
                measured={"boxes": len(places), "of": annotations.count},
                evidence=[_place(annotations, place) for place in places[:3]],
                fix=fix,
            )
        )
    return findings


def _better_alternative(annotations: Annotations, reading: Reading | None) -> Iterator[Finding]:
    """Yields another meaning of the boxes that fits the pixels better."""
    enough = (annotations.valid - limit("valid_loss")) * annotations.count
    alternatives = axis_changes(annotations) + [
        each
        for each in readings(annotations, reading)
        if each.same_unit and annotations.plausible(each.transform).sum() >= enough
    ]
    winners = [
        (each, preference)
        for each in alternatives
        if annotations.differs(each.transform)
        and (preference := annotations.prefers(each.transform)).wins >= limit("evidence_wins")
        and preference.z >= limit("evidence_z")
    ]
    if not winners:
        return
    best, preference = max(winners, key=lambda winner: winner[1].z)
    yield Finding(
        what=f"{best.what}.",
        measured={
            "boxes_that_fit_better": round(preference.wins, 3),
            "boxes_compared": preference.count,
            "standard_deviations": round(preference.z, 1),
        },
        evidence=_examples(annotations, [(index, 0) for index in annotations.sample], best.transform),
        fix=best.fix,
    )


def _wrong_sizes(annotations: Annotations) -> Iterator[Finding]:
    """Yields annotations that state another size than that of their image."""
    wrong = [
        index
        for index, size in enumerate(annotations.annotated_sizes)
        if size is not None and size != annotations.sizes[index] and len(annotations.raw_boxes[index])
    ]
    if not wrong:
        return
    first, scaled = wrong[0], annotations.prefers(rescaled(annotations))
    fits_as_read = scaled.z < -limit("worse_z")
    yield Finding(
        what=f"the annotations of {share(len(wrong), len(annotations.sizes), 'images')} state another size than "
        "the file has.",
        broken=len(wrong) > limit("wrong_image_sizes") * len(annotations.sizes) and not fits_as_read,
        measured={"images": len(wrong), "of": len(annotations.sizes)},
        evidence=[
            f"{annotations.images.ids[first]}: (height, width) {annotations.annotated_sizes[first]} in the "
            f"annotation, {annotations.sizes[first]} in the file"
        ],
        fix="if the images were resized after they were annotated, scale the boxes with them",
    )


def _in_a_corner(annotations: Annotations) -> Iterator[Finding]:
    """Yields boxes that only use the top left of their images."""
    few = annotations.count < limit("pattern_boxes") or len(annotations.sample) < limit("corner_images")
    bottom, right = _reach(annotations, unchanged)
    if few or max(bottom, right) >= limit("corner_extent"):
        return
    yield Finding(
        what=f"all boxes lie in the top left of their images: none reaches beyond {percent(bottom)} of the height "
        f"and {percent(right)} of the width.",
        measured={"largest_bottom": round(bottom, 3), "largest_right": round(right, 3)},
        evidence=[listed([annotations.images.ids[index] for index in annotations.sample])],
        fix="the boxes probably belong to smaller images: scale them by the ratio of the sizes",
    )


def _on_padding(annotations: Annotations) -> list[Finding]:
    """Returns boxes on the bars that padding left at the borders of images."""
    padded, images, shares, places = 0, 0, list[float](), list[Place]()
    for index in annotations.sample:
        evidence = annotations.evidence(index)
        if evidence is None:
            continue
        images += 1
        if evidence.picture == (0.0, 0.0, 1.0, 1.0):
            continue
        padded += 1
        relative = relative_from_yxyx(annotations.raw_boxes[index], annotations.sizes[index])
        outside = image_evidence.share_on_bars(relative, evidence.picture)
        shares += outside.tolist()
        places += [(index, int(number)) for number in np.flatnonzero(outside > limit("box_on_padding"))]
    if not places or padded < limit("padded_images") * images or len(places) < limit("boxes_on_padding") * len(shares):
        return []

    def moved(index: int, boxes: Boxes) -> Boxes:
        evidence, size = annotations.evidence(index), annotations.sizes[index]
        if evidence is None:
            return boxes
        return np.asarray(
            yxyx_from_relative(image_evidence.into_picture(relative_from_yxyx(boxes, size), evidence.picture), size)
        )

    return [
        Finding(
            what=f"{share(padded, images, 'images')} have bars at two sides, onto which "
            f"{share(len(places), len(shares), 'boxes')} reach: the images were padded, but the boxes were not moved "
            "with them.",
            measured={"boxes_on_bars": len(places), "of": len(shares), "padded_images": padded},
            evidence=_examples(annotations, places, moved),
            fix="scale the original boxes by the factor of the image (the same for x and y) and add the width of the "
            "bar on the left and at the top; or keep the original images, which are padded while they are read",
        )
    ]


def _of_other_images(annotations: Annotations) -> list[Finding]:
    """Returns boxes that belong to other images."""
    sample = annotations.sample
    if len(sample) < 2:
        return []
    following = dict(zip(sample, [*sample[1:], sample[0]], strict=True))

    def of_the_next(index: int, boxes: Boxes) -> Boxes:
        """Returns as many boxes of the next image, repeated if it has fewer."""
        other = following[index]
        rows = annotations.raw_boxes[other][np.arange(len(boxes)) % len(annotations.raw_boxes[other])]
        return np.asarray(
            yxyx_from_relative(relative_from_yxyx(rows, annotations.sizes[other]), annotations.sizes[index])
        )

    other = annotations.prefers(of_the_next)
    own = Preference(1 - other.wins, other.count)
    if own.count < limit("foreign_boxes") or own.upper >= limit("foreign_wins"):
        return []
    return [
        Finding(
            what="the boxes fit their images no better than the boxes of other images do.",
            measured={"boxes_that_fit_better": round(own.wins, 3), "boxes_compared": own.count},
            evidence=["see the boxes in analysis.html"],
            fix="check that annotations and images belong together (names, order of lists), and the coordinates",
        )
    ]


def _placeholders(annotations: Annotations) -> Iterator[Finding]:
    """Yields placeholder boxes."""
    if annotations.count < limit("pattern_boxes"):
        return
    tolerance = limit("box_tolerance")
    whole, common = 0, Counter[tuple[float, ...]]()
    for boxes, size in zip(annotations.raw_boxes, annotations.sizes, strict=True):
        relative = relative_from_yxyx(boxes, size)
        whole += int(((relative[:, :2] <= tolerance) & (relative[:, 2:] >= 1 - tolerance)).all(axis=1).sum())
        common.update({tuple(np.round(box, 4).tolist()) for box in relative})
    images = int((annotations.counts > 0).sum())
    box, count = common.most_common(1)[0]
    if whole > limit("whole_image") * annotations.count:
        yield Finding(
            what=f"{share(whole, annotations.count, 'boxes')} cover their whole image.",
            measured={"boxes": whole, "of": annotations.count},
            fix="draw boxes around the objects; to classify whole images, use a folder per class",
        )
        return
    if count > limit("repeated_boxes") * images and images >= limit("repeated_images"):
        yield Finding(
            what=f"{share(count, images, 'images')} have exactly the same box.",
            measured={"images": count, "box_yxyx_relative": list(box)},
            fix="replace placeholders by boxes around the objects",
        )


_SAME_BOX = (
    (REPEATED, "are listed twice: same image, class and box; each is used once.", "delete the repetitions"),
    (
        OF_SEVERAL_CLASSES,
        "have exactly the box of an object of another class; a detector learns one class at a place.",
        "keep one class for each box, such as the most specific one",
    ),
)
"""Defects of objects that share a box: kind, what is wrong, what to do."""


def _sharing_a_box(images: Dataset, boxes: int) -> Iterator[Finding]:
    """Yields objects with the box of another one in their image; `boxes`: number of all."""
    defects = images.defects
    for kind, problem, fix in _SAME_BOX:
        count = defects.counts[kind]
        if count:
            yield Finding(
                what=f"{share(count, boxes, 'objects')} {problem}",
                broken=count > limit("duplicate_objects") * boxes,
                measured={"objects": count, "of": boxes},
                evidence=defects.examples[kind],
                fix=fix,
            )


def _damage(box: Boxes, size: tuple[int, int]) -> str:
    """Returns what is wrong with a box, a key of DAMAGES; empty if nothing is."""
    if not np.isfinite(box).all():
        return "not finite"
    if (box[2:] < box[:2]).any():
        return "swapped"
    if (box[2:] == box[:2]).any():
        return "without area"
    clipped = np.minimum(box[2:], np.array(size, float)) - np.maximum(box[:2], 0.0)
    lost = 1 - np.maximum(clipped, 0.0).prod() / (box[2:] - box[:2]).prod()
    if (clipped <= 0).any() or lost > limit("outside_share"):
        return "outside"
    return "tiny" if (box[2:] - box[:2] < limit("smallest_side")).any() else ""


def _implausible(annotations: Annotations) -> list[Place]:
    return [
        (index, int(number))
        for index, (boxes, size) in enumerate(zip(annotations.raw_boxes, annotations.sizes, strict=True))
        for number in np.flatnonzero(~is_plausible(boxes, size))
    ]


def _reach(annotations: Annotations, transform: Transform) -> tuple[float, float]:
    """Returns the largest bottom and right of all boxes after a transform, relative to their images."""
    ends = np.concatenate(
        [
            transform(index, boxes)[:, 2:] / np.array(annotations.sizes[index])
            for index, boxes in enumerate(annotations.raw_boxes)
        ]
    )
    return float(np.nanmax(ends[:, 0])), float(np.nanmax(ends[:, 1]))


def _examples(annotations: Annotations, places: Sequence[Place], transform: Transform) -> list[str]:
    found = []
    for index, number in places[:3]:
        before = annotations.raw_boxes[index][number]
        after = transform(index, annotations.raw_boxes[index])[number]
        height, width = annotations.sizes[index]
        found.append(
            f"{annotations.images.ids[index]}, object {number + 1}: top, left, bottom, right {_pixels(before)} as "
            f"read, {_pixels(after)} as explained, in {height} x {width}"
        )
    return found


def _place(annotations: Annotations, place: Place) -> str:
    (index, number), (height, width) = place, annotations.sizes[place[0]]
    box = _pixels(annotations.raw_boxes[index][number])
    return f"{annotations.images.ids[index]}, object {number + 1}: {box} in {height} x {width}"


def _pixels(box: Boxes) -> str:
    return "(" + ", ".join(f"{value:g}" for value in np.round(box, 2).tolist()) + ")"
