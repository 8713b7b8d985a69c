"""The links of the images: whether files can be read, what their pixels are, and whether splits share them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tfeff.analysis.diagnosis.finding import Finding, Link, listed, share
from tfeff.analysis.diagnosis.subject import TRAIN
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.defects import Defects
from tfeff.data.images import decoding
from tfeff.data.images.storage import content_digest
from tfeff.errors import UserError

EXAMINED = 1000
"""Images of a split that are decoded, at most, evenly spaced."""
NEARLY_CONSTANT = 3
"""Gray levels; the noise of a compressed blank image."""


@dataclass
class Survey:
    """The images of one split that were decoded.

    Attributes:
        indices: int64 [n], their places in the dataset, without unreadable ones.
        unreadable: id -> reason.
        examined: number of images that were opened.
        digests: digest of the bytes -> ids.
        lowest: int [n], their lowest value.
        highest: int [n], their highest value.
    """

    indices: list[int] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    examined: int = 0
    digests: dict[bytes, list[str]] = field(default_factory=dict)
    lowest: list[int] = field(default_factory=list)
    highest: list[int] = field(default_factory=list)


def survey(images: Dataset) -> Survey:
    """Decodes the images of a split."""
    found = Survey()
    for index in evenly_spaced(len(images), EXAMINED).tolist():
        name = images.ids[index]
        found.examined += 1
        try:
            encoded = images.encoded(index)
            pixels = decoding.decode(encoded, name)
        except (UserError, OSError) as error:
            found.unreadable[name] = str(error)
            continue
        found.indices.append(index)
        found.digests.setdefault(content_digest(encoded), []).append(name)
        found.lowest.append(int(pixels.min()))
        found.highest.append(int(pixels.max()))
    return found


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
    *("box partly outside", "box without area", "wrong image size"),
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
                fix="copy or convert these files again, or delete them; data.corrupt_images=skip trains without them",
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
    blank = [
        splits[role].ids[index]
        for role, each in surveys.items()
        for index, low, high in zip(each.indices, each.lowest, each.highest, strict=True)
        if high - low <= NEARLY_CONSTANT and (high == low or high > NEARLY_CONSTANT)
    ]
    if blank:
        findings.append(
            Finding(
                what=f"{share(len(blank), examined, 'images')} are blank: all their pixels are equal.",
                broken=len(blank) > limit("blank_images") * examined,
                measured={"blank": len(blank), "images": examined},
                evidence=[listed(blank)],
                fix="remove these images, or export them again",
            )
        )
    brightest = max((value for each in surveys.values() for value in each.highest), default=255)
    if NEARLY_CONSTANT < brightest < limit("dark_value"):
        findings.append(
            Finding(
                what=f"all images are nearly black: the brightest of their pixels is {brightest} of 255.",
                broken=True,
                measured={"brightest": brightest, "images": examined},
                fix="16-bit images lose their lower byte, so samples of 12 bits (0 to 4095), as thermal and X-ray "
                "cameras write them, leave 15: multiply them by 16, or scale them to 8 bits",
            )
        )
    return Link(
        name="images",
        question="can every image and annotation file be read?",
        findings=findings,
        measured={"images": {role: len(images) for role, images in splits.items()}, "decoded": examined},
    )


def _other_defects(splits: Mapping[str, Dataset], images: int) -> Iterator[Finding]:
    """Each further kind of defect: nothing that a reader found stays unsaid."""
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


def check_splits(splits: Mapping[str, Dataset], surveys: Mapping[str, Survey]) -> Link:
    """Compares the bytes of the images of all splits."""
    findings = list[Finding]()
    train = surveys[TRAIN].digests
    inside = [names for names in train.values() if len(names) > 1]
    for role, survey in surveys.items():
        if role == TRAIN:
            continue
        same = [(train[digest][0], names[0]) for digest, names in survey.digests.items() if digest in train]
        if same:
            findings.append(
                Finding(
                    what=f"{share(len(same), survey.examined, f'images of {role}')} are also in train: the same bytes.",
                    broken=len(same) >= limit("duplicate_count")
                    and len(same) > limit("duplicate_images") * survey.examined,
                    measured={"images": len(same), "of": survey.examined},
                    evidence=[f"{one} = {other}" for one, other in same[:3]],
                    fix=f"remove them from train or {role}: results on known images say nothing about new ones",
                )
            )
    if inside:
        copies = sum(len(names) - 1 for names in inside)
        findings.append(
            Finding(
                what=f"{share(copies, surveys[TRAIN].examined, 'images of train')} are copies of another one.",
                broken=False,
                measured={"images": copies},
                evidence=[" = ".join(names[:3]) for names in inside[:3]],
            )
        )
    alone = len(splits) == 1
    return Link(
        name="splits",
        question="are the splits disjoint?",
        findings=findings,
        measured={role: len(images) for role, images in splits.items()},
        skipped="there is only one split" if alone and not findings else "",
    )
