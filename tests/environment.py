"""Environment variables of all tests, to be set before NumPy and TensorFlow are imported, which read them once.

pytest-xdist's processes share the cores, and a GPU's memory. Programs started by tests inherit the settings.
"""

import os

_threads = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfeff sets it, also where tests import TensorFlow first
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(_threads))
os.environ.setdefault("TF_NUM_INTEROP_THREADS", str(_threads))
os.environ.setdefault("OMP_NUM_THREADS", str(_threads))
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("MPLBACKEND", "Agg")
