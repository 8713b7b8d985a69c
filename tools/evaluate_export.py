"""Metrics of a run's network and of its exports: `python tools/evaluate_export.py --workdir=DIR`.

A finished run is exported for LiteRT, for LiteRT in 8-bit integers, for ONNX and for OpenVINO. Their runtimes predict a
split (OpenVINO in float32 and in bfloat16), and the predictions are evaluated as by `python -m tfeff.evaluate`. One
line per format is printed as a table; `--out=FILE` writes them as JSON.
"""

import argparse
import json
import tempfile
from pathlib import Path

import command_line

from tfeff import reports, training
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.reporting import tables
from tfeff.serving import run
from tfeff.serving.batch_predictors import RuntimePredictor
from tfeff.tasks.task import BatchPredictor, Predictions

FORMATS = ("litert", "litert-int8", "onnx", "openvino", "openvino-bfloat16")


def main() -> None:
    """Evaluates the formats one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="Workdir of a finished run of one network.")
    parser.add_argument("--split", help="Split to predict; default: the test split.")
    parser.add_argument("--formats", default=",".join(FORMATS), help="Of the list %(default)s.")
    parser.add_argument("--out", type=Path, help="JSON file to write.")
    arguments = parser.parse_args()
    formats = arguments.formats.split(",")
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--formats={name}: must be one of {', '.join(FORMATS)}")
    rows = evaluate(training.Workdir(arguments.workdir), arguments.split, formats)
    print(tables.text(rows))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write(arguments.out, json.dumps(rows, indent=2) + "\n")


def evaluate(workdir: training.Workdir, split: str | None, formats: list[str]) -> list[dict]:
    """Returns one row for the network and one per format: name, file size in MB, and the task's metrics."""
    plan, reporter = training.Plan.opened(workdir), training.Reporter(quiet=True)
    task, model = plan.task, training.trained_model(workdir, plan=plan)
    images = training.split_images(workdir, plan.images, split, reporter).images
    pipeline = plan.batches(images, model, "evaluation", reporter.reading)
    validated, evaluator = workdir.validated(task.scores), reports.evaluator(task.kind)

    def row(name: str, megabytes: float | None, found: Predictions) -> dict:
        report = evaluator.evaluate(found, pipeline, validated).report
        return {"format": name, "MB": megabytes, **evaluator.scalars(report)}

    rows = [row("network", None, BatchPredictor(task.predictor(model), task)(pipeline))]
    for name in formats:
        format, _, variant = name.partition("-")
        with tempfile.TemporaryDirectory() as directory:
            out = run.exportable(workdir, model).portable(
                Path(directory) / name, format, fit=False, precision=variant or "float32"
            )
            predictor = RuntimePredictor.open(out)
            rows.append(row(name, sum(file.stat().st_size for file in out.glob("model.*")) / 1e6, predictor(pipeline)))
    return rows


if __name__ == "__main__":
    command_line.run(main)
