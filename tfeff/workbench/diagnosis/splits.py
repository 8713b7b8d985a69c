"""The link of the splits: whether an image of the training split is also in another one."""

from collections.abc import Mapping

from tfeff.data.dataset import Dataset
from tfeff.workbench.diagnosis.finding import Finding, Link, share
from tfeff.workbench.diagnosis.images import Survey
from tfeff.workbench.diagnosis.subject import TRAIN
from tfeff.workbench.diagnosis.thresholds import limit


def check(splits: Mapping[str, Dataset], surveys: Mapping[str, Survey]) -> Link:
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
