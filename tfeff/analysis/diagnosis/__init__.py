"""Why a network finds nothing: checks from the dataset to the predictions, which name the first broken link."""

from tfeff.analysis.diagnosis.chain import diagnose
from tfeff.analysis.diagnosis.finding import Diagnosis, Finding, Link
from tfeff.analysis.diagnosis.subject import Subject, open_dataset, open_run, with_defects_once

__all__ = ["Diagnosis", "Finding", "Link", "Subject", "diagnose", "open_dataset", "open_run", "with_defects_once"]
