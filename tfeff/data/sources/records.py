"""Records: any source, packed into a few large files by `tfeff.pack`.

The images are records of ArrayRecord files, with the bytes of the files that the source had. A manifest has the rest.
"""

from functools import cached_property
from pathlib import Path

import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.data.defects import Defects
from tfeff.data.images.recorded import RecordedImages
from tfeff.data.images.storage import ImageStorage
from tfeff.data.names import listed
from tfeff.data.sources.manifest import Manifest
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, checked_fractions
from tfeff.errors import UserError


class Records(Source):
    """A directory of records.

    Images that the packed source lost to defects take no part in a draw of splits.

    Args:
        root: the directory.
        options: `channels`, `fractions`, `seed`, `further_classes` and `on_defect` apply. With `keep_raw_annotations`,
            a note says that objects are not kept as they were written.
        objects: whether images must have objects, or else a label each.

    Raises:
        UserError: no records, or of the other kind; files are missing or damaged; the training split lacks classes.
    """

    def __init__(self, root: str | Path, options: Options, *, objects: bool) -> None:
        super().__init__(f"records:{root}", options)
        self._manifest = Manifest.read(Path(root))
        if self._manifest.has_objects != objects:
            wanted, found = ("objects with boxes", "a label each") if objects else ("a label each", "objects")
            raise UserError(f"{self.name}: its images have {found}, not {wanted}")
        if self._manifest.further_classes and not options.further_classes:
            raise UserError(
                f"{self.name}: the training split has no images of {listed(self._manifest.further_classes)}; only the "
                "task embedding allows that"
            )
        if self._manifest.drawn:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the packed source, or those of `fractions`."""
        if self.drawn:
            return tuple(self.options.fractions)
        return tuple(name for name in self._manifest.splits if name != ALL)

    @property
    def drawn(self) -> bool:
        """Whether the packed source had no splits of its own."""
        return self._manifest.drawn

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """See `Source`. Of a defect of the packed source, nothing says which drawn split it would have been in."""
        found, defects = list[str](), self._manifest.splits[ALL].defects
        if self.drawn and defects.counts:
            kinds = defects.text().replace("\n", "; ")
            found.append(f"{self.name}: {self._manifest.source} had defects when it was packed: {kinds}")
        if self.options.keep_raw_annotations and self._manifest.has_objects:
            found.append(
                f"{self.name}: has objects as they were read, not as they are written; to examine defects of "
                f"annotations, analyze {self._manifest.source}"
            )
        return tuple(found)

    @cached_property
    def disjoint(self) -> bool:
        """Whether no image belongs to two splits."""
        used = [np.unique(self._manifest.splits[name].records) for name in self.splits] if not self.drawn else []
        return sum(map(len, used)) == len(np.unique(np.concatenate([np.zeros(0, np.int64), *used])))

    @cached_property
    def _images(self) -> ImageStorage:
        found = self._manifest
        return RecordedImages(found.shards, found.places, found.digests, found.origins, found.sizes, found.undecodable)

    def _load(self, split: str) -> Dataset:
        """Returns the images of one split.

        Raises:
            NoImagesError: a draw leaves none.
            UserError: (with `on_defect="stop"`) the packed source had a defect.
        """
        found, name = self._manifest, f"{self.name}/{split}"
        part = found.splits[ALL if self.drawn else split]
        if self.options.on_defect == "stop":
            for kind in part.defects.counts:
                Defects("stop").add(kind, f"{name}: {part.defects.first(kind)}")
        objects, drawn = part.objects(), self.drawn and split != ALL
        dataset = Dataset(
            name=name,
            class_names=found.class_names,
            ids=part.ids(),
            images=self._images.take(part.records),
            channels=self.options.channels,
            labels=part.labels,
            objects=objects,
            sizes=found.sizes[part.records] if part.sized else np.zeros((0, 2), np.int32),
            defects=Defects(self.options.on_defect).joined([] if drawn else [part.defects]),
            notes=part.notes,
            class_ids=found.class_ids,
        )
        if not drawn:
            return dataset
        return dataset.take(self._draw(dataset.ids, split, dataset.labels if dataset.has_labels else None))
