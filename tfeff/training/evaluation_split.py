"""The split on which a finished run is evaluated, and its images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tfeff import config
from tfeff.data.input.cache import ImageCache
from tfeff.data.sources.source import Source
from tfeff.data.splits import canonical_name
from tfeff.errors import UserError, nearest
from tfeff.training import selection, split_plan


def default(settings: config.Experiment, record: Mapping[str, Any], source: Source) -> tuple[str, str] | None:
    """The split on which a finished run is evaluated, and a note if it is not the test split; None: there is none."""
    chosen = _plan_of(settings, record, source)
    if chosen.test is not None:
        return chosen.test, ""
    named = settings.data.test_split is not None
    reason = f"{source.name} has no test split" if named else "data.test_split is None"
    if record["validation_examples"]:
        return (
            "validation",
            f"{reason}: evaluated on the validation images, which may have been used to choose the weights",
        )
    return None


def images(
    settings: config.Experiment,
    split: str,
    record: Mapping[str, Any],
    progress: selection.Progress,
    source: Source | None = None,
) -> ImageCache:
    """The images of one split of a finished run.

    Args:
        settings: the run's experiment.
        split: a split of its source; `validation` (or an alias) is what the run validated on, however that was chosen,
            unless the config makes the source's validation split the test split.
        record: the workdir's `dataset.json`.
        progress: called while reading.
        source: `selection.open_source(settings)`, if it is open already.

    Raises:
        UserError: no such split, other classes than the network's, or a split drawn by seed from images that have
            changed since the run began: it may contain training images.
    """
    source = source or selection.open_source(settings)
    chosen = _plan_of(settings, record, source)
    name = source.find(split)
    if canonical_name(split) == "validation" and (name is None or name != chosen.test):
        if chosen.validation is None and record["validation_examples"]:
            caches = selection.read(settings, progress, source=source)
            _require_unchanged(settings, caches.fingerprint, record["fingerprint"])
            whole = replace(settings, data=replace(settings.data, validation_examples=None))
            held_out = selection.choose(whole, caches).validation
            assert held_out is not None
            return held_out
        if chosen.validation is None and (name is None or source.overlap(chosen.train, name)):
            raise UserError(
                "--split=validation: this run held out no images (data.validation_fraction is 0), and its source has "
                "no validation split apart from the training images"
            )
        name = chosen.validation or name
    if name is None:
        raise UserError(f'--split: {source.name} has no split "{split}"; {nearest(split, source.splits)}')
    if source.drawn and not record.get("given"):  # given datasets were split elsewhere
        now = selection.load(settings, source, chosen.train).fingerprint
        _require_unchanged(settings, now, record["fingerprint"].partition(" ")[0])
    dataset = selection.load(settings, source, name)
    if list(dataset.class_names) != record["class_names"]:
        raise UserError(f"--split={split}: its classes are not those that the network was trained on")
    size = record["image_size"]
    return selection.cache(settings, dataset, size and (size[0], size[1]), progress)


def _plan_of(settings: config.Experiment, record: Mapping[str, Any], source: Source) -> split_plan.Plan:
    """The plan of a finished run; a run on given datasets was not split by its source."""
    if not record.get("given"):
        return split_plan.plan(settings, source)
    test = settings.data.test_split
    return split_plan.Plan("", source.find("validation"), None if test is None else source.find(test))


def _require_unchanged(settings: config.Experiment, now: str, then: str) -> None:
    """Refuses to draw splits again from changed images, by fingerprints of the training images."""
    if not selection.unchanged(now, then):
        raise UserError(
            f"the images of {settings.data.source} have changed since this run began (names, sizes or modification "
            "times), and its splits are drawn from them by the seed, so the split could contain training images. "
            "Restore the images, or train again in a new --workdir"
        )
