"""What a finished run has found, in words: how good it is, how far to believe that, and what to do next."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfeff import config
from tfeff.data.splits import file_part
from tfeff.reporting import tables
from tfeff.reporting.tables import in_words, percent, unit_of
from tfeff.reports import Evaluation, Evaluator, Picture
from tfeff.selection import Role
from tfeff.training.plan import Plan
from tfeff.training.workdir import Workdir

WORST = 8
"""Mistakes that are named on the terminal."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunEvaluation(Evaluation):
    """Results of a run's network on a split.

    Attributes:
        split: name of the split.
        evaluator: evaluator for the kind of prediction; `report` is its report, with the split's name and notes.
        workdir: the run's workdir.
        files: all files written.
        answer: how good the network is, in a sentence with an interval.
        trust: how far to trust that; empty if there is nothing to say.
        notes: what else the user should know about the images.
        drawn: how the splits were drawn.
        activation: class activation maps of some images; empty unless the run has a classifier.
        commands: what to do next -> the command.
        page: `report.html`, if it shows these results.
    """

    split: str
    evaluator: Evaluator
    workdir: Path
    files: Sequence[Path]
    answer: str
    trust: str
    notes: Sequence[str]
    drawn: str
    activation: Sequence[Picture] = ()
    commands: Mapping[str, str]
    page: Path | None = None

    @property
    def listing(self) -> Path:
        """The file with truth and prediction of images."""
        return self.workdir / f"predictions_{file_part(self.split)}.csv"

    def to_text(self) -> str:
        """Formats results for the terminal: the answer, what is wrong, and what to do next; then tables and files."""
        lines = [self.answer, *filter(None, [self.trust])]
        if self.mistakes:
            count = len(self.mistakes)
            lines.append("Mistakes:" if count <= WORST else f"The {WORST} worst of {count:,} images with mistakes:")
            lines += [f"  {mistake}" for mistake in self.mistakes[:WORST]]
        places = {"report": self.page, self.evaluator.listed: self.listing if self.predictions else None}
        ways = {name: str(path) for name, path in places.items() if path is not None}
        if self.page is not None:
            ways |= self.commands
        width = max(map(len, ways), default=0)
        listed = "\n".join(f"{name:{width}}  {what}" for name, what in ways.items())
        shown = self.evaluator.tables(self.report)
        written = dict.fromkeys(path.relative_to(self.workdir).parts[0] for path in self.files)
        wrote = f"wrote {self.workdir}: {', '.join(written)}"
        return "\n\n".join(filter(None, ["\n".join(lines), self.drawn, listed, *map(tables.text, shown), wrote]))


def contents(workdir: Workdir, evaluation: RunEvaluation | None) -> dict[str, dict[str, Any]]:
    """What the splits of a run hold, by split: `tfeff.data.contents.Contents` as a record.

    Of the evaluated split, that is what it held at the evaluation.
    """
    found = dict(workdir.dataset().get("found") or {})
    if evaluation is not None and "found" in evaluation.report:
        read = evaluation.report["found"]
        roles = [role for role, each in found.items() if each["name"] == read["name"]]
        found |= dict.fromkeys(roles or [evaluation.split], read)
    return found


def content_rows(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row for each split of `contents`: images, objects, and what was lost."""
    return [
        {
            "split": role,
            "images": each["images"],
            **({} if each["objects"] is None else {"objects": each["objects"], "ignored": each["ignored_objects"]}),
            "lost images": each["lost_images"],
            **({} if each["objects"] is None else {"lost objects": each["lost_objects"]}),
            "from": each["name"],
        }
        for role, each in found.items()
    ]


def changed_settings(plan: Plan) -> dict[str, Any]:
    """Returns the settings of a run that are not the default, by dotted key."""
    default, own = config.Experiment(model=config.architecture("resnet")), config.flatten(plan.settings)
    return {key: value for key, _, value in config.differences(default, plan.settings) if key in own}


def commands(workdir: Path, plan: Plan) -> dict[str, str]:
    """Returns what to do with a finished run -> the command."""
    run = shlex.quote(str(workdir))
    found = {"new photographs": f"python -m tfeff.predict --workdir={run} --images=PHOTOS --out=predictions"}
    if plan.settings.task.IS_CLASSIFIER or plan.settings.task.IS_DETECTOR:
        found["compare with"] = f"python -m tfeff.analyze --workdir={run} --workdir=OTHER --out=comparison"
    return found


def chosen_by_validation(plan: Plan) -> str:
    """Returns what the validation images of a run choose, in words; "" if they choose nothing."""
    training = plan.settings.training
    chosen = {
        "the epoch whose weights are kept": training.keep == "best" or training.early_stopping_epochs is not None,
        "when to stop": training.early_stopping_epochs is not None,
        "when to lower the learning rate": plan.settings.schedule.name == "plateau",
        # Without the number of those that exist for several sizes of a gallery.
        **{f"the {in_words(re.sub(r'_[0-9]+$', '', name))}": name in plan.task.scores for name in plan.task.tuned},
    }
    *others, last = ["", *(what for what, applies in chosen.items() if applies)]
    return " and ".join(filter(None, [", ".join(others[1:]), last]))


def trust(plan: Plan, workdir: Workdir, report: Mapping[str, Any], evaluator: Evaluator, role: Role) -> str:
    """Says how far to trust a result: whether its images also chose something, and how validation differs from it."""
    split, chose = report["split"], chosen_by_validation(plan)
    if role == "train":
        return "The network was trained on these images: expect less of new ones."
    if role == "validation":
        if chose:
            return f"Expect a little less of new images: these validation images also chose {chose}."
        return "Nothing was chosen on these validation images; if you choose settings by them, expect a little less."
    value, validated = evaluator.result(report).get(evaluator.main), workdir.validated([evaluator.main])
    before = validated.get(evaluator.main)
    if value is None or before is None or round(value, 3) == round(before, 3):
        return ""
    unit = unit_of(evaluator.main)
    first, second = (percent(each, 1) if unit else f"{each:.3f}" for each in (before, value))
    because = f", while the validation images chose {chose}" if chose else ""
    return (
        f"The {in_words(evaluator.main)} on the validation images was {first}, on the {split} images it is {second}. "
        f"Believe the {split} images: nothing was chosen on them{because}."
    )
