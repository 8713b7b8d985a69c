"""The link of the splits: whether images of the training split, or images like them, are also in the others.

Images of the validation split, which chooses weights and thresholds, should not be in the test split, either.
"""

from collections.abc import Iterator, Mapping, Sequence

from tfeff.analysis.diagnosis.finding import Finding, Link, listed, share
from tfeff.analysis.diagnosis.subject import TRAIN, VALIDATION
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.analysis.quality import Place, Quality, Survey
from tfeff.data.dataset import Dataset

CHOOSES = "which chooses weights and thresholds"


def check_splits(splits: Mapping[str, Dataset], quality: Quality) -> Link:
    """Looks for equal files, near duplicates, and members of one group, in the training split and another one, or in
    the validation split and a third one."""
    findings, surveys = list[Finding](), quality.surveys
    train = surveys[TRAIN].digests
    inside = [names for names in train.values() if len(names) > 1]
    for role, survey in surveys.items():
        if role == TRAIN:
            continue
        same = [
            (train[digest][0], name) for digest, names in survey.digests.items() if digest in train for name in names
        ]
        if same:
            findings.append(
                Finding(
                    what=f"{share(len(same), survey.examined, f'images of {role}')} are also in train: the same bytes.",
                    broken=_many(len(same), survey),
                    measured={"images": len(same), "of": survey.examined},
                    evidence=[f"{one} = {other}" for one, other in same[:3]],
                    fix=f"remove them from train or {role}: results on known images say nothing about new ones",
                )
            )
        findings += [*_near_duplicates(role, quality), *_separated_groups(role, quality, TRAIN)]
        if role != VALIDATION:
            findings += [*_in_validation(role, quality), *_separated_groups(role, quality, VALIDATION)]
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
    findings += _contradictions(quality)
    within = [group for group in quality.copies.groups if len({role for role, _ in group}) == 1]
    if within:
        findings.append(
            Finding(
                what=f"{sum(map(len, within)):,} images have near duplicates in their own split "
                f"({len(within):,} {'group' if len(within) == 1 else 'groups'}).",
                broken=False,
                measured={"images": sum(map(len, within)), "groups": len(within)},
                evidence=[" = ".join(map(quality.id_of, group[:3])) for group in within[:3]],
                fix="cross-validation and drawn splits can separate them: keep one of each group",
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


def _contradictions(quality: Quality) -> Iterator[Finding]:
    """Yields images with equal bytes and different labels, in any splits."""
    found = dict[bytes, list[tuple[str, str]]]()
    for survey in quality.surveys.values():
        images = survey.images
        if images.has_labels and not images.has_objects and images.cropped is None:
            for index, one in zip(survey.indices, survey.measured, strict=True):
                label = images.class_names[images.labels[index]]
                found.setdefault(one.digest, []).append((images.ids[index], label))
    differing = [same for same in found.values() if len({label for _, label in same}) > 1]
    if differing:
        count, examined = sum(map(len, differing)), sum(each.examined for each in quality.surveys.values())
        yield Finding(
            what=f"{share(count, examined, 'images')} have the same bytes as another one, but another label.",
            broken=count > limit("duplicate_images") * examined,
            measured={"images": count, "of": examined},
            evidence=[" = ".join(f"{name} ({label})" for name, label in same[:3]) for same in differing[:3]],
            fix="keep each image under one label",
        )


def _many(count: int, survey: Survey) -> bool:
    return count >= limit("duplicate_count") and count > limit("duplicate_images") * survey.examined


def _near_duplicates(role: str, quality: Quality) -> Iterator[Finding]:
    """Yields images of a split that nearly equal one of the training split, but not byte by byte."""
    survey, train = quality.surveys[role], quality.surveys[TRAIN]
    near = list[tuple[str, str]]()
    for group in quality.copies.across:
        known = [train.ids[index] for other, index in group if other == TRAIN]
        own = [index for other, index in group if other == role and survey.measured[index].digest not in train.digests]
        near += [(known[0], survey.ids[index]) for index in own if known]
    if near:
        yield Finding(
            what=f"{share(len(near), survey.examined, f'images of {role}')} are near duplicates of images in train.",
            broken=_many(len(near), survey),
            measured={"images": len(near), "of": survey.examined},
            evidence=[f"{one} ~ {other}" for one, other in near[:3]],
            fix=f"remove them from train or {role}: results on known images say nothing about new ones",
        )


def _in_validation(role: str, quality: Quality) -> Iterator[Finding]:
    """Yields images of a split that equal or nearly equal one of the validation split, but none of the training
    split."""
    survey = quality.surveys[role]
    copies = list[tuple[str, str]]()
    for group in quality.copies.across:
        if _both(group, role, VALIDATION):
            known = next(quality.id_of(place) for place in group if place[0] == VALIDATION)
            copies += [(known, quality.id_of(place)) for place in group if place[0] == role]
    if copies:
        yield Finding(
            what=f"{share(len(copies), survey.examined, f'images of {role}')} are copies of images in {VALIDATION}, "
            f"{CHOOSES}.",
            broken=_many(len(copies), survey),
            measured={"images": len(copies), "of": survey.examined},
            evidence=[f"{one} ~ {other}" for one, other in copies[:3]],
            fix=f"remove them from {VALIDATION} or {role}: results on images that chose the weights are too good",
        )


def _both(group: Sequence[Place], role: str, known: str) -> bool:
    """Returns whether a group has images of a split and of one that is known to the network.

    Groups with images of all three splits are those of the training split.
    """
    roles = {other for other, _ in group}
    return {role, known} <= roles and (known == TRAIN or TRAIN not in roles)


def _separated_groups(role: str, quality: Quality, known: str) -> Iterator[Finding]:
    """Yields groups with images in the training or validation split, `known`, and in another one."""
    survey = quality.surveys[role]
    for grouping in quality.groupings:
        both = {name: group for name, group in grouping.across.items() if _both(group, role, known)}
        count = sum(other == role for group in both.values() for other, _ in group)
        if not both:
            continue
        alike = (
            "" if grouping.likeness is None else f" (more alike than others with probability {grouping.likeness:.2f})"
        )
        name, group = next(iter(both.items()))
        yield Finding(
            what=f"{share(count, survey.examined, f'images of {role}')} belong to groups that are also in {known}"
            f"{'' if known == TRAIN else f', {CHOOSES}'}: {grouping.what}{alike}.",
            broken=_many(count, survey),
            measured={"images": count, "of": survey.examined, "groups": len(both)},
            evidence=[f"{name}: " + listed([quality.id_of(place) for place in group], 4)],
            fix="put all images of a group into the same split: results on known groups say little about new ones"
            + (
                f"; --config.data.groups='{grouping.setting}' keeps them together in drawn splits and folds"
                if grouping.setting
                else ""
            ),
        )
