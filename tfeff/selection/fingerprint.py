"""What a run remembers of its images, so that a later call can say what has changed.

For each image: its name, a stamp of its file (size and modification time; of images in memory, the content), and a
digest of its label or objects. That is about 30 bytes per image on disk; no file is opened.
"""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.data.dataset import Dataset, Objects
from tfeff.data.names import counted, packed_texts, unpacked_texts
from tfeff.durable import write
from tfeff.errors import UserError

UNLABELED = "unlabeled"
"""The role of the images of `data.unlabeled`, which no split of the source holds."""
_LISTED = 5
_TRAINED = "trained"


@dataclass(frozen=True, eq=False)
class SplitRecord:
    """The n images of one split.

    Attributes:
        class_names: one per class.
        ids: names of the images, in order.
        files: uint64 [n], stamps of the images; see `ImageStorage.stamp`.
        annotations: uint64 [n], digests of labels or objects.
    """

    class_names: tuple[str, ...]
    ids: Sequence[str]
    files: np.ndarray
    annotations: np.ndarray

    @classmethod
    def of(cls, dataset: Dataset) -> "SplitRecord":
        """Returns the record of a dataset."""
        files = b"".join(map(dataset.images.stamp, range(len(dataset))))
        if dataset.has_objects:
            annotated = np.frombuffer(b"".join(map(Objects.digest, dataset.objects)), np.uint64)
        else:
            annotated = dataset.labels.astype(np.uint64) if dataset.has_labels else np.zeros(len(dataset), np.uint64)
        return cls(dataset.class_names, list(dataset.ids), np.frombuffer(files, np.uint64), annotated)

    def draws_as(self, other: "SplitRecord") -> bool:
        """Returns whether a seed draws the same images from both: names and annotations are the same, in order."""
        return (
            self.class_names == other.class_names
            and list(self.ids) == list(other.ids)
            and np.array_equal(self.annotations, other.annotations)
        )

    @property
    def files_by_name(self) -> list[tuple[str, int]]:
        """File name and stamp of each image, which stay the same if it moves to another folder."""
        names = (name.rpartition("/")[2] for name in self.ids)
        return list(zip(names, self.files.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The images from which a run takes its own.

    Attributes:
        splits: `train`; `validation` if the source has a split to validate on; UNLABELED if the run has such images.
        trained: uint64 [m], `Dataset.origins` of the images that the run learns from, with labels or without; empty if
            that is not known.
    """

    splits: Mapping[str, SplitRecord]
    trained: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))

    @classmethod
    def of(cls, datasets: Mapping[str, Dataset | None]) -> "Fingerprint":
        """Returns the fingerprint of the datasets that are not None."""
        return cls({role: SplitRecord.of(each) for role, each in datasets.items() if each is not None})

    @property
    def of_source(self) -> "Fingerprint":
        """The fingerprint without the images of `data.unlabeled`."""
        return Fingerprint({role: split for role, split in self.splits.items() if role != UNLABELED})

    def to_bytes(self) -> bytes:
        """Returns a compressed NumPy archive."""
        arrays: dict[str, Any] = {_TRAINED: self.trained}
        for role, split in self.splits.items():
            arrays[f"{role}/classes"] = packed_texts(split.class_names)
            arrays[f"{role}/ids"] = packed_texts(split.ids)
            arrays[f"{role}/files"], arrays[f"{role}/annotations"] = split.files, split.annotations
        written = io.BytesIO()
        np.savez_compressed(written, **arrays)
        return written.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Fingerprint":
        """Returns the inverse of `to_bytes`."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            roles = dict.fromkeys(key.partition("/")[0] for key in arrays if key != _TRAINED)
            return cls(
                {
                    role: SplitRecord(
                        tuple(unpacked_texts(arrays[f"{role}/classes"])),
                        unpacked_texts(arrays[f"{role}/ids"]),
                        arrays[f"{role}/files"],
                        arrays[f"{role}/annotations"],
                    )
                    for role in roles
                },
                arrays[_TRAINED],
            )

    def to_text(self) -> str:
        """Returns `to_bytes` in base64."""
        return base64.b64encode(self.to_bytes()).decode()

    @classmethod
    def from_text(cls, text: str) -> "Fingerprint":
        """Returns the inverse of `to_text`."""
        return cls.from_bytes(base64.b64decode(text))

    def save(self, path: Path) -> None:
        """Writes a file atomically."""
        write(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> "Fingerprint":
        """Reads a file.

        Raises:
            UserError: it is missing or damaged.
        """
        try:
            return cls.from_bytes(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: missing; train in a new --workdir") from None
        except Exception as error:  # a damaged archive raises errors of several modules
            raise UserError(f"{path}: damaged ({error}); train in a new --workdir") from None

    @cached_property
    def digest(self) -> str:
        """A hash of all, in hexadecimal."""
        made = hashlib.sha256()
        for role, split in self.splits.items():
            for part in (packed_texts([role]), packed_texts(split.class_names), packed_texts(split.ids)):
                made.update(part.tobytes())
            made.update(split.files.tobytes() + split.annotations.tobytes())
        return made.hexdigest()

    def changes(self, now: "Fingerprint") -> list[str]:
        """Returns what differs now, one phrase each; empty if nothing does."""
        found = list[str]()
        for role in dict.fromkeys((*self.splits, *now.splits)):
            if role not in now.splits:
                found.append(f"the split {role} is missing")
            elif role not in self.splits:
                found.append(f"the split {role} is new; the run did not use it when it began")
            else:
                found += _changes(role, self.splits[role], now.splits[role])
        return found

    def require_unchanged(self, now: "Fingerprint", source: str, remedy: str) -> None:
        """Refuses changed images.

        Args:
            now: fingerprint of the images as they are.
            source: where they are, for the message.
            remedy: what to do, for the message; ends it.

        Raises:
            UserError: they differ.
        """
        changed = self.changes(now)
        if changed:
            listed = "".join(f"\n  {each}" for each in changed)
            raise UserError(f"the images of {source} have changed since this run began:{listed}\n{remedy}")


def _changes(role: str, then: SplitRecord, now: SplitRecord) -> list[str]:
    found = list[str]()
    if then.class_names != now.class_names:
        before, after = (", ".join(each.class_names) for each in (then, now))
        found.append(f"the class names of {role} changed: {before} then; {after} now")
    if list(then.ids) == list(now.ids):
        old = new = np.arange(len(then.ids))
    else:
        earlier, later = ({name: index for index, name in enumerate(each.ids)} for each in (then, now))
        common = [name for name in then.ids if name in later]
        old, new = (np.array([places[name] for name in common], np.int64) for places in (earlier, later))
        removed = [name for name in then.ids if name not in later]
        added = [name for name in now.ids if name not in earlier]
        renamed = _renamed({name: then.files[earlier[name]] for name in removed},
                           {name: now.files[later[name]] for name in added})  # fmt: skip
        pairs = [f"{before} is now {after}" for before, after in renamed.items()]
        targets = set(renamed.values())
        found += _phrase(pairs, f"of {role}", "renamed")
        found += _phrase([name for name in added if name not in targets], f"of {role}", "added")
        found += _phrase([name for name in removed if name not in renamed], f"of {role}", "removed")
        if not (added or removed):
            found.append(f"the images of {role} are in another order, or some are listed several times")
    names = np.array(then.ids, object)
    touched = then.files[old] != now.files[new]
    found += _phrase(list(names[old[touched]]), f"of {role}", "changed (size, modification time or content)")
    if then.class_names == now.class_names:  # labels are indices of classes
        annotated = list(names[old[then.annotations[old] != now.annotations[new]]])
        found += [f"labels or boxes of {each}" for each in _phrase(annotated, f"of {role}", "changed")]
    return found


def _renamed(removed: Mapping[str, np.uint64], added: Mapping[str, np.uint64]) -> dict[str, str]:
    """Returns old -> new name of the images whose stamp only one removed and one added image have."""

    def by_stamp(stamps: Mapping[str, np.uint64]) -> dict[int, list[str]]:
        names = dict[int, list[str]]()
        for name, stamp in stamps.items():
            names.setdefault(int(stamp), []).append(name)
        return names

    before, after = by_stamp(removed), by_stamp(added)
    return {
        names[0]: after[stamp][0] for stamp, names in before.items() if len(names) == len(after.get(stamp, ())) == 1
    }


def _phrase(names: Sequence[str], where: str, what: str) -> list[str]:
    verb = "was" if len(names) == 1 else "were"
    verb = "" if what.startswith("changed") else f"{verb} "
    return [f"{counted(len(names), 'images')} {where} {verb}{what}: {_listed(names)}"] if names else []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
