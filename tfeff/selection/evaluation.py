"""The split on which a finished run is evaluated, its images, and how the splits of a run were drawn."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from tfeff.data.images.unreadable import OF_FINISHED_RUN
from tfeff.data.input.cache import ImageCache
from tfeff.data.sources.source import Source
from tfeff.data.splits import canonical_name, similar
from tfeff.errors import UserError
from tfeff.reporting.tables import percent
from tfeff.selection.choice import fold
from tfeff.selection.fingerprint import Fingerprint
from tfeff.selection.reading import Progress, cache, cache_part
from tfeff.selection.splits import Request, Splits, assign, load, open_source, require_objects


def final_split(wanted: Request, record: Mapping[str, Any], source: Source) -> tuple[str, str] | None:
    """Returns the split on which a finished run is evaluated, and a note if it is not the test split.

    None if there is none.
    """
    chosen = _splits_of(wanted, record, source)
    if chosen.test is not None:
        return chosen.test, ""
    named = wanted.data.test_split is not None
    reason = f"{source.name} has no test split" if named else "data.test_split is None"
    if record["validation_examples"]:
        split = "validation"
        if chosen.validation is not None and not _means_validated(record, source, chosen, split):
            split = chosen.validation
        note = f"{reason}: evaluated on the validation images, which may have been used to choose the weights"
        return split, note
    return None


Role = Literal["train", "validation", "test", "other"]


def role(wanted: Request, record: Mapping[str, Any], source: Source, split: str) -> Role:
    """Returns what part a split had in a finished run; arguments as for `how_drawn`.

    A test split that the run was also validated on is a validation split, and a split that shares images with the
    training images is one of these.
    """
    chosen, name = _splits_of(wanted, record, source), source.find(split)
    parts: dict[str | None, Role] = {chosen.test: "test", chosen.train: "train", chosen.validation: "validation"}
    if _means_validated(record, source, chosen, split):
        return "validation"
    if name is None:
        return "other"
    if name in parts or record.get("given"):
        return parts.get(name, "other")
    if source.overlap(chosen.train, name):
        return "train"
    if chosen.validation is not None and source.overlap(chosen.validation, name):
        return "validation"
    return "other"


def split_name(wanted: Request, split: str, record: Mapping[str, Any], source: Source) -> str:
    """Returns the one name of a split of a finished run, whichever of its aliases is given.

    This is `validation` for what the run validated on, unless the source has another split of this name; otherwise that
    of the source. Arguments as for `evaluation_images`.
    """
    chosen = _splits_of(wanted, record, source)
    if all(_means_validated(record, source, chosen, each) for each in (split, "validation")):
        return "validation"
    return source.find(split) or split


def _means_validated(record: Mapping[str, Any], source: Source, chosen: Splits, split: str) -> bool:
    """Returns whether a name means what the run validated on, and not a split of the source with this name.

    A split that has exactly this name is meant, unless the run held images out of the training split instead and the
    name is an alias of `validation` without a year: then these images are called by it.
    """
    name = source.find(split)
    if canonical_name(split) != "validation" or (name is not None and name == chosen.test):
        return False
    if split not in source.splits or split == chosen.validation:
        return True
    if chosen.validation is not None or record.get("given") or not split[-1].isalpha():
        return False
    return bool(record["validation_examples"]) or source.overlap(chosen.train, split)


def how_drawn(wanted: Request, record: Mapping[str, Any], source: Source) -> str:
    """Says which images a finished run was trained, validated and tested on, and how they were chosen.

    Args:
        wanted: what the run asked of its images.
        record: the workdir's `dataset.json`.
        source: `open_source(wanted)`.
    """
    data, chosen, held = wanted.data, _splits_of(wanted, record, source), record["validation_examples"]
    unit = "images" if data.tile is None else "tiles"
    train = f"Trained on {record['train_examples']:,} {unit}" + (f' (split "{chosen.train}")' if chosen.train else "")
    if chosen.validation is not None:
        validation = f'validated on {held:,} (split "{chosen.validation}")'
    elif held and data.folds is not None:
        validation = f"validated on {held:,} of the same split (fold {data.fold} of {data.folds}, seed {wanted.seed})"
    elif held:
        share = percent(data.validation_fraction)
        validation = f"validated on {held:,} that were drawn from the same split ({share}, seed {wanted.seed})"
    else:
        validation = "not validated"
    test = "there are no test images" if chosen.test is None else f'tested on the split "{chosen.test}"'
    sentences = [f"{train}, {validation}; {test}."]
    if record.get("given"):
        sentences.append("The splits were given.")
    elif source.drawn:
        shares = ", ".join(f"{name} {percent(share)}" for name, share in source.options.fractions.items())
        by_class = " class by class" if source.annotated(chosen.train).has_labels else ""
        sentences.append(
            f"{source.name} has no splits of its own, so they were drawn{by_class} with seed {wanted.seed}: {shares}."
        )
    if data.groups is not None and (source.drawn or (held and chosen.validation is None)):
        sentences.append(f"Images with the same {data.groups!r} in their names stayed in one split.")
    return " ".join(sentences)


def evaluation_images(
    wanted: Request,
    split: str,
    record: Mapping[str, Any],
    began: Callable[[], Fingerprint],
    progress: Progress,
    source: Source | None = None,
) -> ImageCache:
    """Returns the images of one split of a finished run.

    Args:
        wanted: what the run asked of its images.
        split: a split of its source; `validation` (or an alias) is what the run validated on, however that was chosen,
            unless this is the test split, or the source has a split of exactly this name and the run validated on
            another one.
        record: the workdir's `dataset.json`.
        began: returns the fingerprint of the images with which the run began.
        progress: called while reading.
        source: `open_source(wanted)`, if it is open already.

    Raises:
        UserError: no such split, other classes than the network's, or a split drawn by seed from images that have
            changed since the run began: it may contain training images.
    """
    source = source or open_source(wanted)
    chosen = _splits_of(wanted, record, source)
    name = source.find(split)
    if _means_validated(record, source, chosen, split):
        if chosen.validation is None and record["validation_examples"]:
            train = load(wanted, source, chosen.train)
            if name is not None:
                note = f'"{split}" are the images held out of the split "{chosen.train}", not the split "{name}"'
                train = replace(train, notes=(*train.notes, f"{source.name}: {note} of the source"))
            _require_unchanged(wanted, began().of_source, Fingerprint.of({"train": train}))
            part = fold(wanted, train, validates=False)
            assert part is not None
            return cache_part(wanted, train, part.validation, progress, advice=OF_FINISHED_RUN)
        if chosen.validation is None and (name is None or source.overlap(chosen.train, name)):
            raise UserError(
                "--split=validation: this run held out no images (data.validation_fraction is 0), and its source has "
                "no validation split apart from the training images"
            )
        if record["validation_examples"] and not record.get("given") and "validation" not in began().splits:
            new = Fingerprint.of({"validation": load(wanted, source, chosen.validation or name or "")})
            _require_unchanged(wanted, began(), Fingerprint({**began().splits, **new.splits}))
        name = chosen.validation or name
    if name is None:
        raise UserError(f'--split: {source.name} has no split "{split}"; {similar(split, source.splits)}')
    if source.drawn and not record.get("given"):  # given datasets were split elsewhere
        now = Fingerprint.of({"train": load(wanted, source, chosen.train)})
        _require_unchanged(wanted, Fingerprint({"train": began().splits["train"]}), now)
    dataset = load(wanted, source, name)
    known = len(record["class_names"]) if wanted.task.section.OPEN_SET else None
    if list(dataset.class_names[:known]) != record["class_names"]:
        raise UserError(f"--split={split}: its classes are not those that the network was trained on")
    require_objects(dataset, "evaluate on")
    size = record["image_size"]
    return cache(wanted, dataset, size and (size[0], size[1]), progress, advice=OF_FINISHED_RUN)


def _splits_of(wanted: Request, record: Mapping[str, Any], source: Source) -> Splits:
    """Returns the splits of a finished run; a run on given datasets was not split by its source."""
    if not record.get("given"):
        return assign(wanted, source)
    test = wanted.data.test_split
    return Splits("", source.find("validation"), None if test is None else source.find(test))


def _require_unchanged(wanted: Request, began: Fingerprint, now: Fingerprint) -> None:
    """Refuses to draw splits again from changed images."""
    remedy = (
        "Its splits are drawn from them by the seed, so the split could contain training images. Restore the images, "
        "or train again in a new --workdir"
    )
    began.require_unchanged(now, wanted.data.source, remedy)
