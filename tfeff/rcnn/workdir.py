"""The workdir of an R-CNN run.

```
config.json           the run's config, with defaults
dataset.json          class names, and digests of the images and objects that the run trains on and holds out
proposals/            proposal store, unless the config names another one
backbone/             workdir of the backbone's training as a classifier
features/<split>/     features of all regions (features/sliding_window/<split>/ for the sliding window)
heads/<form>.keras    features -> scores and box codes
heads/<form>.json     score thresholds and the digest of the backbone; written last
joint/                workdir of the joint head's training (dataset.json holds the digest of the backbone)
joint.json            training curves of the joint head, one row per epoch
result.json           headline metrics on the test split
evaluation_<split>.json, detections_<form>_<split>.json, sensitivity.json, figures/, tensorboard/
saved_model/<form>/   exports
```
"""

from pathlib import Path

from tfeff import config


class Workdir:
    """The directory of a run.

    Args:
        path: the directory; created when the run starts.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.backbone = self.path / "backbone"
        self.joint = self.path / "joint"
        self.dataset = self.path / "dataset.json"
        self.features = self.path / "features"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"

    def settings(self) -> config.RCNN:
        """The run's config.

        Raises:
            UserError: the directory does not belong to an R-CNN run.
        """
        return config.saved(self.path, config.RCNN)

    def proposals(self, directory: str | None) -> Path:
        """The directory of the proposal store; `directory` is the one of the config, if any."""
        return Path(directory or self.path / "proposals")

    def head(self, form: str) -> Path:
        """The file of a trained head."""
        return self.path / "heads" / f"{form}.keras"

    def thresholds(self, form: str) -> Path:
        """The file of a head's score thresholds. It exists once the head's training is complete."""
        return self.head(form).with_suffix(".json")

    def saved_model(self, form: str) -> Path:
        """The directory of an exported form."""
        return self.path / "saved_model" / form
