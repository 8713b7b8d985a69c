"""The workdir of a run of R-CNN.

```
config.json           the run's config, defaults included
dataset.json          the classes, and digests of the images and objects that it learns from and holds out
proposals/            the store of regions, unless the config names another one
backbone/             the workdir of the backbone's training as a classifier
features/<split>/     features of all regions (features/sliding_window/<split>/ of its places)
heads/<form>.keras    features -> scores and codes
heads/<form>.json     the scores from which on it is believed, and whose features it knows; the last that is written
joint.json            how the training of the joint head went, a row an epoch
result.json           the measures on the test split, in short
evaluation_<split>.json, detections_<form>_<split>.json, sweep.json, figures/, tensorboard/
saved_model/<form>/   the exports
```
"""

from contextlib import AbstractContextManager
from pathlib import Path

from tfeff import config
from tfeff.errors import UserError


class Workdir:
    """A run's directory.

    Args:
        path: where; made when the run starts.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.backbone = self.path / "backbone"
        self.dataset = self.path / "dataset.json"
        self.features = self.path / "features"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"

    def claimed(self, settings: config.RCNN) -> AbstractContextManager[None]:
        """Makes the directory this config's, and nobody else's to work in while the context lasts; see
        `config.claimed`."""
        return config.claimed(self.path, settings)

    def settings(self) -> config.RCNN:
        """The config whose run this is."""
        path = self.path / "config.json"
        if not path.is_file():
            raise UserError(
                f"--workdir={self.path}: no config.json there; it should be the workdir of a tfeff.train run"
            )
        return config.from_json(path.read_text(errors="replace"), config.RCNN, where=str(path))

    def proposals(self, settings: config.RCNN) -> Path:
        """Where the store of regions lies."""
        return Path(settings.proposals.directory or self.path / "proposals")

    def head(self, form: str) -> Path:
        """The file of a trained head."""
        return self.path / "heads" / f"{form}.keras"

    def point(self, form: str) -> Path:
        """The file of the scores from which on a head is believed; the last that its training writes."""
        return self.head(form).with_suffix(".json")

    def saved_model(self, form: str) -> Path:
        """Where a form is exported to."""
        return self.path / "saved_model" / form
