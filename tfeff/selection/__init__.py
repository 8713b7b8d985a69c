"""Which images a run uses, for every kind of run.

`request` says what a run asks of its images. `splits` opens its source and assigns splits to training, validation and
test; `reading` decodes them; `choice` takes the run's subset, fold or hold-out; `evaluation` finds the images of a
finished run again; `fingerprint` says what has changed since a run began; `oddities` finds known and black images.
"""

from tfeff.selection.choice import TrainingData, choose, fold, trained_part, validation_images
from tfeff.selection.evaluation import Role, evaluation_images, final_split, how_drawn, role, split_name
from tfeff.selection.fingerprint import UNLABELED, Fingerprint
from tfeff.selection.oddities import notes
from tfeff.selection.reading import Progress, SplitCaches, cache, cache_part, decodable, image_size, read, skipped_note
from tfeff.selection.splits import (
    NoObjectsError,
    Request,
    Splits,
    apart,
    assign,
    check,
    contents,
    find,
    load,
    open_source,
    request,
)

__all__ = [
    "UNLABELED",
    "Fingerprint",
    "NoObjectsError",
    "Progress",
    "Request",
    "Role",
    "SplitCaches",
    "Splits",
    "TrainingData",
    "apart",
    "assign",
    "cache",
    "cache_part",
    "check",
    "choose",
    "contents",
    "decodable",
    "evaluation_images",
    "final_split",
    "find",
    "fold",
    "how_drawn",
    "image_size",
    "load",
    "notes",
    "open_source",
    "read",
    "request",
    "role",
    "skipped_note",
    "split_name",
    "trained_part",
    "validation_images",
]
