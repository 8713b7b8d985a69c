"""Which image each annotation of a Pascal VOC dataset belongs to."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfeff.data.images import decoding
from tfeff.data.images.decoding import Headers
from tfeff.data.names import listed, shown
from tfeff.data.sources.listing import folded
from tfeff.data.sources.voc_layout import Layout
from tfeff.data.sources.voc_xml import Annotation
from tfeff.errors import UserError


@dataclass(frozen=True)
class Match:
    """The image of an annotation.

    Attributes:
        image: the file; None if there is a problem.
        problem: why there is none, as a kind of defect.
        remark: what is unusual about it, as a kind of defect.
        where: annotation and image, for both.
    """

    image: Path | None
    problem: str = ""
    remark: str = ""
    where: str = ""


def matches(layout: Layout, parsed: Mapping[str, Annotation | str], headers: Headers) -> dict[str, Match]:
    """Finds the images of all annotations.

    An image belongs to the annotation that has its name. If several images have the name, `<filename>` decides, then
    the size that is written; if none has it, the image that `<filename>` names. An image belongs to one annotation.

    Args:
        layout: layout of the dataset.
        parsed: id -> what the file says, or why it cannot be read.
        headers: headers of the images.
    """
    index = _Images(layout)
    found, owners = dict[str, Match](), dict[Path, str]()
    # Annotations that have an image's name have the better claim, most of all if it is written alike.
    for name in sorted(parsed, key=lambda name: (not index.exact(name), not index.same(name))):
        path, annotation, same = layout.annotations[name], parsed[name], index.same(name)
        if same:
            found[name] = _among(name, path, annotation, same, index, headers)
        else:
            found[name] = _named(name, path, annotation, index)
        if (image := found[name].image) is not None:
            owners.setdefault(image, name)
    result = dict[str, Match]()
    for name in parsed:
        each = found[name]
        if each.image is not None and owners[each.image] != name:
            own, other = (shown(str(layout.annotations[one])) for one in (name, owners[each.image]))
            where = f"{own}: {shown(each.image.name)} belongs to {other}"
            each = Match(None, problem="annotation of an image that has another one", where=where)
        elif each.image in layout.problems:
            each = Match(None, problem=layout.problems[each.image], where=shown(str(each.image)))
        result[name] = each
    return result


class _Images:
    """The images of a layout by their names."""

    def __init__(self, layout: Layout) -> None:
        self._depth = 1 if layout.split_folders else 0
        self._exact, self._by_stem = defaultdict[str, list[Path]](list), defaultdict[str, list[str]](list)
        self._by_name, self._paths = defaultdict[str, list[Path]](list), layout.images
        for name, path in layout.images.items():
            self._exact[name.rpartition(".")[0]].append(path)
            self._by_stem[self._key(name.rpartition(".")[0])].append(name)
            self._by_name[self._key(name)].append(path)

    def exact(self, id_: str) -> bool:
        """Returns whether an image has the name of an annotation, letter by letter."""
        return id_ in self._exact

    def same(self, id_: str) -> list[Path]:
        """Returns the images that have the name of an annotation, in the same folder if both are in folders."""
        if id_ in self._exact:
            return self._exact[id_]
        fitting = self._by_stem.get(self._key(id_), [])
        nested = id_.count("/") > self._depth
        return [self._paths[name] for name in fitting if not nested or name.count("/") == self._depth]

    def named(self, id_: str, name: str) -> list[Path]:
        """Returns the images with a file name, with or without its ending, in the split of an annotation."""
        names = (name, *(name + ending for ending in decoding.EXTENSIONS)) if name else ()
        keys = (self._key(id_.rpartition("/")[0] + "/" + each) for each in names)
        return next((self._by_name[key] for key in keys if key in self._by_name), [])

    def _key(self, path: str) -> str:
        """Returns the split folder, if there are such, and the last part, folded."""
        split = path.partition("/")[0] + "/" if self._depth else ""
        return split + folded(path.rpartition("/")[2])


def _among(
    id_: str, path: Path, annotation: Annotation | str, same: Sequence[Path], index: _Images, headers: Headers
) -> Match:
    """Returns the image of an annotation among those of its name."""
    written = "" if isinstance(annotation, str) else annotation.file_name
    where = f"{shown(str(path))}: <filename> is {shown(written) or 'missing'}"
    if len(same) == 1:
        if not written or folded(same[0].stem) in (folded(_stem(written)), folded(written)):
            return Match(same[0])
        exists = "which exists as well" if index.named(id_, written) else "which does not exist"
        where += f", {exists}; {shown(same[0].name)} is used"
        return Match(same[0], remark="annotation that names another image than its own", where=where)
    named = [path for path in same if path.name == written] or [
        path for path in same if folded(path.name) == folded(written)
    ]
    if len(named) == 1:
        return Match(named[0])
    size = None if isinstance(annotation, str) else annotation.image_size
    fitting = [path for path in same if _size(headers, path) == size]
    where += f"; it could be {listed([path.name for path in same])}"
    if len(fitting) == 1:
        where += f"; {shown(fitting[0].name)} is used, which has the size written"
        return Match(fitting[0], remark="annotation that fits several images by its name", where=where)
    return Match(None, problem="annotation that fits several images", where=where)


def _named(id_: str, path: Path, annotation: Annotation | str, index: _Images) -> Match:
    """Returns the image that an annotation names, if no image has the name of the annotation."""
    written = "" if isinstance(annotation, str) else annotation.file_name
    candidates = index.named(id_, written)
    where = f"{shown(str(path))}: <filename> is {shown(written) or 'missing'}"
    if len(candidates) == 1:
        return Match(candidates[0], remark="image found by <filename> alone", where=where)
    if candidates:
        return Match(None, problem="annotation that fits several images", where=where)
    return Match(None, problem="annotation without its image", where=f"{where}; no image {shown(path.stem)}")


def _size(headers: Headers, path: Path) -> tuple[int, int] | UserError:
    header = headers.header(path)
    return header if isinstance(header, UserError) else header.size


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(decoding.EXTENSIONS) else name
