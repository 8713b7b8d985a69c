"""The workdir of an R-CNN run.

```
config.json           the run's config, with defaults
dataset.json          class names, and digests of the images and objects that the run trains on and holds out
proposals/            proposal store, unless the config names another one
backbone/             workdir of the backbone's training as a classifier
features/<split>/     features of all regions (features/sliding_window/<split>/ for the sliding window)
heads/<form>.keras    features -> scores and box codes
heads/<form>.json     score thresholds and the digest of the backbone; written last
joint.json            training curves of the joint head, one row per epoch
result.json           headline metrics on the test split
evaluation_<split>.json, detections_<form>_<split>.json, sensitivity.json, figures/, tensorboard/
saved_model/<form>/   exports
```
"""

from contextlib import AbstractContextManager
from pathlib import Path

from tfeff import config
from tfeff.errors import UserError


class Workdir:
    """The directory of a run.

    Args:
        path: the directory; created when the run starts.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.backbone = self.path / "backbone"
        self.dataset = self.path / "dataset.json"
        self.features = self.path / "features"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"

    def claimed(self, settings: config.RCNN) -> AbstractContextManager[None]:
        """Creates the workdir for this config and locks it while the context is active; see `config.claimed`."""
        return config.claimed(self.path, settings)

    def settings(self) -> config.RCNN:
        """The run's config.

        Raises:
            UserError: the directory does not belong to an R-CNN run.
        """
        path = self.path / "config.json"
        if not path.is_file():
            raise UserError(f"--workdir={self.path}: no config.json; it must be the workdir of a tfeff.train run")
        return config.from_json(path.read_text(errors="replace"), config.RCNN, where=str(path))

    def proposals(self, settings: config.RCNN) -> Path:
        """The directory of the proposal store."""
        return Path(settings.proposals.directory or self.path / "proposals")

    def head(self, form: str) -> Path:
        """The file of a trained head."""
        return self.path / "heads" / f"{form}.keras"

    def thresholds(self, form: str) -> Path:
        """The file of a head's score thresholds. It exists once the head's training is complete."""
        return self.head(form).with_suffix(".json")

    def saved_model(self, form: str) -> Path:
        """The directory of an exported form."""
        return self.path / "saved_model" / form
