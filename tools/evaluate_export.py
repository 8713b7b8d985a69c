"""Metrics of a run's network and of its exports: `python tools/evaluate_export.py --workdir=DIR`.

A finished run is exported for LiteRT, for LiteRT in 8-bit integers, for ONNX and for OpenVINO. Their runtimes predict a
split (OpenVINO in float32 and in bfloat16), and the predictions are evaluated as by `python -m tfeff.evaluate`. One
line per format is printed as a table; `--out=FILE` writes them as JSON.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import command_line
import numpy as np

from tfeff import reports, selection, training
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.reporting import tables
from tfeff.serving import exportable, openvino, portable, run
from tfeff.tasks.task import Batch, BatchPredictor, predictions

FORMATS = ("litert", "litert-int8", "onnx", "openvino", "openvino-bfloat16")
Runner = Callable[..., Mapping[str, np.ndarray]]


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
    settings, record = workdir.config(), workdir.dataset()
    source = selection.open_source(selection.request(settings))
    if split is None:
        final = selection.final_split(selection.request(settings), record, source)
        if final is None:
            raise UserError(f"{workdir.path}: the source has no images to evaluate; name a split")
        split = final[0]
    task, model = training.Plan.of(settings).task, training.trained_model(workdir)
    images = selection.evaluation_images(
        selection.request(settings), split, record, workdir.fingerprint, training.Reporter(quiet=True).reading, source
    )
    pipeline = training.Plan.of(settings).evaluation_pipeline(images, model.size)
    validated, evaluator = workdir.validated(task.scores), reports.evaluator(task.kind)

    def row(name: str, megabytes: float | None, found: Mapping[str, np.ndarray]) -> dict:
        report = evaluator.evaluate(found, pipeline, validated).report
        return {"format": name, "MB": megabytes, **evaluator.scalars(report)}

    rows = [row("network", None, BatchPredictor(task.predictor(model), task)(pipeline))]
    for name in formats:
        format, _, variant = name.partition("-")
        with tempfile.TemporaryDirectory() as directory:
            out = run.exportable(workdir).portable(Path(directory) / name, format, fit=False, int8=variant == "int8")
            found = predictions(
                _in_batches(_runner(out / exportable.FORMATS[format].FILE, variant == "bfloat16")), pipeline
            )
            rows.append(row(name, sum(file.stat().st_size for file in out.glob("model.*")) / 1e6, found))
    return rows


def _runner(file: Path, bfloat16: bool) -> Runner:
    """Returns a function that runs a model file on inputs by name.

    An example is `images`, float32 [1, height, width, channels].
    """
    if file.suffix == ".xml":
        precision = "bf16" if bfloat16 else "f32"
        compiled = openvino.core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        return lambda **inputs: {port.any_name: value.copy() for port, value in compiled(inputs).items()}
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda **inputs: dict(zip(names, session.run(None, inputs), strict=True))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner()


def _in_batches(runner: Runner) -> Callable[[Batch], Mapping[str, np.ndarray]]:
    def decoded(batch: Batch) -> Mapping[str, np.ndarray]:
        inputs = portable.inputs(batch)
        images = range(len(inputs["images"]))
        each = [runner(**{name: value[image : image + 1] for name, value in inputs.items()}) for image in images]
        return {name: np.concatenate([found[name] for found in each]) for name in each[0]}

    return decoded


if __name__ == "__main__":
    command_line.run(main)
