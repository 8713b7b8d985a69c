"""The links of the images: whether files can be read, and what their pixels are like."""

from collections.abc import Iterator, Mapping

from tfeff.analysis.diagnosis.finding import Finding, Link, listed, share
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.analysis.quality import Quality, Survey
from tfeff.data.dataset import Dataset
from tfeff.data.defects import Defects
from tfeff.data.images import decoding
from tfeff.data.sources.annotations import OF_SEVERAL_CLASSES, REPEATED

NEARLY_CONSTANT = 3
"""Gray levels; the noise of a compressed blank image."""


FILES = (
    ("annotation without its image", "annotations have no image of their name", "give both the same file name"),
    ("annotation that fits several images", "annotations fit several images", "let <filename> name one of them"),
    ("listed name without an image", "names in lists of splits fit no image", "correct the lists"),
    (
        "listed image without an annotation",
        "listed images have no annotation",
        "annotate them",
    ),
    ("unreadable annotation", "annotation files cannot be read", "export the annotations again"),
    ("unreadable label file", "label files cannot be read", "export the annotations again"),
    ("object without an image", "objects belong to no image of the list", "let image_id name an entry of images"),
    ("image without a file", "listed images have no file", "copy the missing images, or correct their names"),
    ("name that leaves the folder", "names point outside the dataset's folder", "write names inside the folder"),
)
"""Defects of files and lists: kind, what is wrong, what to do."""
SEEN_ELSEWHERE = (
    *("unreadable image", "class without a name", "invalid line", "object without a complete box"),
    *("object without a box or a class", "box that is not finite", "swapped corners", "box outside the image"),
    *("box partly outside", "box without area", "wrong image size", REPEATED, OF_SEVERAL_CLASSES),
)
"""Defects that this link counts with damaged images, or that the links of boxes and classes explain."""
ORPHAN = "label without an image of its name"
"""A defect, counted per object."""


def check_images(
    splits: Mapping[str, Dataset], surveys: Mapping[str, Survey], lost: Mapping[str, Defects], *, skips: bool
) -> Link:
    """Checks the files.

    Args:
        lost: splits all images of which were dropped, and why, by role.
        skips: whether training skips images that cannot be decoded, instead of stopping.
    """
    findings = [
        Finding(
            role=role,
            what="no image is left: all were dropped because of defects.",
            measured=dict(defects.counts),
            evidence=[defects.first(kind) for kind in defects.counts][:5],
            fix="copy or convert these files again",
        )
        for role, defects in lost.items()
    ]
    examined = sum(each.examined for each in surveys.values())
    headers = sum(images.defects.counts["unreadable image"] for images in splits.values())
    reasons = {name: reason for each in surveys.values() for name, reason in each.unreadable.items()}
    damaged, total = len(reasons) + headers, examined + headers
    if damaged:
        examples = [*reasons.values(), *(_example(images, "unreadable image") for images in splits.values())]
        findings.append(
            Finding(
                what=f"{share(damaged, total, 'images')} cannot be read.",
                broken=damaged > limit("unreadable_images") * total or (bool(reasons) and not skips),
                measured={"unreadable": damaged, "images": total},
                evidence=[each for each in examples if each][:5],
                fix="copy, convert or delete these files, or train with --config.data.corrupt_images=skip",
            )
        )
    for kind, what, fix in FILES:
        count = sum(images.defects.counts[kind] for images in splits.values())
        if count:
            findings.append(
                Finding(
                    what=f"{count:,} {what}.",
                    broken=count > limit("orphan_annotations") * total,
                    measured={"count": count, "images": total},
                    evidence=[each for each in (_example(images, kind) for images in splits.values()) if each],
                    fix=fix,
                )
            )
    orphans = sum(images.defects.counts[ORPHAN] for images in splits.values())
    if orphans:
        findings.append(
            Finding(
                what=f"{orphans:,} objects are in label files that have no image of their name.",
                broken=False,  # the images that lack them show in the link of the objects
                measured={"objects": orphans},
                evidence=[each for each in (_example(images, ORPHAN) for images in splits.values()) if each],
                fix="give label files and images the same names, or delete the label files of deleted images",
            )
        )
    findings += _other_defects(splits, total)
    brightest = max((one.highest for each in surveys.values() for one in each.measured), default=255)
    blank = [
        name
        for each in surveys.values()
        for name, one in zip(each.ids, each.measured, strict=True)
        if one.highest - one.lowest <= NEARLY_CONSTANT and (one.highest == one.lowest or one.highest > NEARLY_CONSTANT)
    ]
    if blank and brightest:
        findings.append(
            Finding(
                what=f"{share(len(blank), examined, 'images')} are blank: all their pixels are equal.",
                broken=len(blank) > limit("blank_images") * examined,
                measured={"blank": len(blank), "images": examined},
                evidence=[listed(blank)],
                fix="remove these images, or export them again",
            )
        )
    if not brightest or NEARLY_CONSTANT < brightest < decoding.DARK:
        findings.append(
            Finding(
                what=f"all images are nearly black: the brightest of their pixels is {brightest} of 255.",
                broken=True,
                measured={"brightest": brightest, "images": examined},
                fix=decoding.DARK_ADVICE,
            )
        )
    return Link(
        name="images",
        question="can every image and annotation file be read?",
        findings=findings,
        measured={"images": {role: len(images) for role, images in splits.items()}, "decoded": examined},
    )


def _other_defects(splits: Mapping[str, Dataset], images: int) -> Iterator[Finding]:
    """Yields each further kind of defect: nothing that a reader found stays unsaid."""
    explained = {*SEEN_ELSEWHERE, ORPHAN, *(kind for kind, _, _ in FILES)}
    found = Defects().joined(each.defects for each in splits.values())
    for kind, count in sorted(found.counts.items()):
        if kind not in explained:
            cost = found.costs.get(kind)
            yield Finding(
                what=f"{count:,} x {kind}" + (f"; these {cost} are left out." if cost else "."),
                broken=cost == "images" and count > limit("orphan_annotations") * images,
                measured={"count": count},
                evidence=found.examples[kind],
                fix="correct these places" if cost else "check these places; they are read as said here",
            )


def _example(images: Dataset, kind: str) -> str:
    return images.defects.first(kind)


def check_quality(quality: Quality) -> Link:
    """Checks what images look like; odd images are notes."""
    examined = sum(map(len, quality.surveys.values()))
    findings = [
        Finding(
            what=f"{share(len(each.places), examined, 'images')} {each.what}"
            + ("; this is usual here." if each.usual else "."),
            broken=False,
            measured={"images": len(each.places), "of": examined},
            evidence=[] if each.usual else [listed([quality.id_of(place) for place in each.places])],
            fix=""
            if each.usual
            else "look at them in analysis.html; leave out those in which the object cannot be seen",
        )
        for each in quality.odd.values()
    ]
    return Link(
        name="quality",
        question="are images sharp, well exposed and different?",
        findings=findings,
        measured={
            "examined": examined,
            "near_duplicates": sum(map(len, quality.copies.groups)),
            "groups_of_near_duplicates": len(quality.copies.groups),
        },
    )
