"""Why a network finds nothing: checks from the dataset to the predictions, which name the first broken link."""

from tfeff.workbench.diagnosis.chain import diagnose
from tfeff.workbench.diagnosis.finding import Diagnosis, Finding, Link
from tfeff.workbench.diagnosis.subject import Subject, open_dataset, open_run

__all__ = ["Diagnosis", "Finding", "Link", "Subject", "diagnose", "open_dataset", "open_run"]
