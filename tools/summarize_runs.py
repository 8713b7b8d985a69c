"""Summarizes runs that differ in seed or fold: `python tools/summarize_runs.py NAME=DIR ... --out=FILE`.

Each DIR holds workdirs of `tfeff.train`. For each name, FILE gets the score of each run: the accuracy of a classifier,
the `REGION_SCORES` of R-CNN, and mAP@.5 and COCO's AP of other detectors. It also gets the mean of the runs with its
95 % interval (Student's t), and the interval of each run over the test images (for classifiers, Wilson's of the mean
accuracy).

Further columns are the validation mAP of the weights that were kept, or the training accuracy of their epoch (on
augmented images, while the weights were changing), and the settings that differ from the defaults. Existing names that
are not given stay.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import command_line

from tfeff import config, training
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.evaluation.paired import wilson_interval
from tfeff.trials.intervals import summary
from tfeff.trials.trial import result_row

OF_EACH_RUN = ("training_seconds", "intervals_of_test_images", "validation_mean_ap", "training_accuracy")
"""What a summary has for each run, beside the scores."""

REGION_SCORES: Mapping[str, str] = {
    "mean_ap": "mAP@.5",
    "coco_ap": "COCO AP",
    "accuracy": "class accuracy on object boxes",
    "called_background": "classified as background",
    "background_recall": "background recall",
    "proposal_recall": "region recall",
}
"""Scores of R-CNN, by their key in `result.json`."""


def main() -> None:
    """Summarizes the runs that the flags name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=DIR", help="Name and directory of a group of workdirs.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write.")
    arguments = parser.parse_args()
    groups = command_line.stored(arguments.out) if arguments.out.is_file() else {}
    for argument in arguments.runs:
        name, equals, directory = argument.partition("=")
        workdirs = sorted(path.parent for path in Path(directory).glob("*/result.json"))
        if not equals or not workdirs:
            raise UserError(f"{argument}: write NAME=DIR, where DIR/*/result.json are the results of finished runs")
        groups[name] = summarize(workdirs)
        for score, values in groups[name]["scores"].items():
            low, high = values["interval"] or (None, None)
            print(f"{name}, {score}: mean {values['mean']:.4f}, 95 % interval {low} to {high}, {len(workdirs)} runs")
    write(arguments.out, json.dumps(groups, indent=1) + "\n")


def summarize(workdirs: list[Path]) -> dict[str, Any]:
    """Returns the summary of some finished runs, JSON-ready."""
    experiments = [config.load(workdir / config.RUN_FILE, config.Experiment) for workdir in workdirs]
    results = [json.loads((workdir / "result.json").read_text()) for workdir in workdirs]
    scored = [scores(result) for result in results]
    changed = [settings(each) for each in experiments]
    common = {key: value for key, value in changed[0].items() if all(each.get(key) == value for each in changed)}
    answer = {
        "runs": [workdir.name for workdir in workdirs],
        "split": results[0]["split"],
        "scores": {name: with_mean([each[name] for each in scored]) for name in scored[0]},
        "settings": common,
    }
    if all("training_seconds" in result for result in results):
        answer["training_seconds"] = [round(result["training_seconds"], 1) for result in results]
    if all("mean_ap" in result for result in results):
        answer["intervals_of_test_images"] = [result["mean_ap_interval"] for result in results]
    answer |= {name: results[0][name] for name in ("params", "macs", "regions") if name in results[0]}
    if all("validation_mean_ap" in result for result in results):
        answer["validation_mean_ap"] = [result["validation_mean_ap"] for result in results]
    logs = [training.Workdir(workdir).rows() for workdir in workdirs]
    if "accuracy" in scored[0] and all(logs):
        kept = [result_row(each.training, rows) for each, rows in zip(experiments, logs, strict=True)]
        answer["training_accuracy"] = [row["train_accuracy"] for row in kept]
    evaluations = [workdir / f"evaluation_{results[0]['split']}.json" for workdir in workdirs]
    if "accuracy" in scored[0] and all(path.is_file() for path in evaluations):
        answer["test_images"] = json.loads(evaluations[0].read_text())["examples"]
    return with_interval_of_images(answer)


def combined(known: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the summary of the runs of two summaries; a run that is in both is taken from `new`."""
    places = {run: (each, index) for each in (known, new) for index, run in enumerate(each["runs"])}
    runs = sorted(places, key=lambda run: (len(run), run))  # numbers in their order

    def column(values: Callable[[Mapping[str, Any]], Sequence[Any]]) -> list[Any]:
        return [values(each)[index] for each, index in map(places.__getitem__, runs)]

    kept = {key: value for key, value in (known | new).items() if key not in OF_EACH_RUN}
    of_runs = {key: column(itemgetter(key)) for key in OF_EACH_RUN if key in known and key in new}
    common = {key: value for key, value in new["settings"].items() if known["settings"].get(key) == value}
    both = [name for name in new["scores"] if name in known["scores"]]
    scored = {name: with_mean(column(lambda each, name=name: each["scores"][name]["runs"])) for name in both}
    return with_interval_of_images({**kept, **of_runs, "runs": runs, "scores": scored, "settings": common})


def with_mean(values: list[float]) -> dict[str, Any]:
    """Returns the scores of runs, all in [0, 1], with their mean and its 95 % interval."""
    of_runs = summary(values, bounded=True)
    return {
        "mean": of_runs.mean,
        "interval": None if of_runs.low is None else [of_runs.low, of_runs.high],
        "runs": values,
    }


def with_interval_of_images(answer: dict[str, Any]) -> dict[str, Any]:
    """Returns a summary with the interval of the mean accuracy over test images, if their number is known."""
    if "test_images" not in answer:
        return answer
    low, high = wilson_interval(answer["scores"]["accuracy"]["mean"], answer["test_images"])
    return {**answer, "interval_of_test_images": [low, high]}


def settings(experiment: config.Experiment) -> dict[str, Any]:
    """Returns the settings that differ from the defaults, as they are published: equal to those read from a file."""
    changed = {key: shown(key, value) for key, _, value in config.differences(defaults(experiment), experiment)}
    return dict(json.loads(json.dumps(changed)))  # tuples become lists


def defaults(experiment: config.Experiment) -> config.Experiment:
    """Returns the default settings of the same task."""
    return config.Experiment(task=type(experiment.task)())


def shown(key: str, value: Any) -> Any:
    """Returns a setting as it is published: sources and weights without the location of their folder.

    >>> shown("data.source", "folder:/tmp/images"), shown("model.weights", "/tmp/runs/source/checkpoints/final.npz")
    ('folder:images', 'source/checkpoints/final.npz')
    """
    if key.endswith("data.source"):
        scheme, _, place = value.rpartition(":")
        return f"{scheme}:{Path(place).name}"
    if key.endswith("model.weights") and value is not None:
        return "/".join(Path(value).parts[-3:])
    return value


def scores(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns the accuracy of a classifier, or the scores of a detector, from its `result.json`."""
    if "proposal_recall" in result:
        return {name: result[key] for key, name in REGION_SCORES.items()}
    if "mean_ap" in result:
        return {"mAP@.5": result["mean_ap"], "COCO AP": result["coco_ap"]}
    return {"accuracy": result["accuracy"]}


if __name__ == "__main__":
    command_line.run(main)
