# Needs Python 3.11, 3.12 or 3.13 with pip, and make. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
# The tools of `make docs`: they read the sources and do not import the package, so TensorFlow is not installed there.
DOCS_VENV := .venv-docs
BIN := $(VENV)/bin
WORKDIR ?= runs/demo
# Number of parallel test processes. Each one imports TensorFlow, which takes 10 s and 0.5 GB.
WORKERS ?= 2
# Additional arguments for pytest, for example: make pytest ARGS="tests/models -k resnet"
ARGS ?=

# A stamp is written when its lock file has been installed; pip runs only if the lock file is newer than its stamp.
RUN_STAMP := $(VENV)/installed-run
DEV_STAMP := $(VENV)/installed-dev
DOCS_STAMP := $(DOCS_VENV)/installed-docs

SUPPORTED := (3, 11) <= sys.version_info < (3, 14)
define refuse_python
	echo "tfeff needs Python 3.11, 3.12 or 3.13 with venv and pip (on Debian and Ubuntu: apt install python3-venv)." >&2; \
	echo "$(PYTHON) is $$($(PYTHON) --version 2>&1). Choose another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	exit 1
endef

# $(call environment,VENV,LOCK): creates the environment if needed and installs the lock file.
define environment
	@$(1)/bin/python -c 'import pip, sys; sys.exit(not $(SUPPORTED))' 2>/dev/null || { \
		$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(not $(SUPPORTED))' 2>/dev/null || { $(refuse_python); }; \
		echo "Installing $(2) into $(1). This takes some minutes, but only once."; \
		$(PYTHON) -m venv --clear $(1); \
	}
	$(1)/bin/python -m pip install --disable-pip-version-check --require-hashes --requirement $(2)
endef

# $(call install,LOCK): the environment $(VENV) with the lock file, and this package (editable, offline).
define install
	$(call environment,$(VENV),$(1))
	$(BIN)/python -m pip install --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check lint imports types pytest docs format lock build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUN_STAMP) ## find scaling coefficients on handwritten digits, train and export the network [WORKDIR=runs/demo]
	@$(BIN)/python -m tfeff.search --config=digits_search --workdir=$(WORKDIR)/search
	@$(BIN)/python -m tfeff.train --config=digits_family --workdir=$(WORKDIR)/phi2 \
		--config.member.family=$(WORKDIR)/search --config.member.phi=2

test: lint imports types ## run lint, layers, types and all but the slow tests, in less than 15 minutes [WORKERS=2]
	@$(MAKE) --no-print-directory pytest ARGS='-m "not slow" $(ARGS)'

check: lint imports types pytest ## run everything that must pass, also the slow tests, as CI does [WORKERS=2]

lint: $(DEV_STAMP) ## check rules and format with ruff
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

imports: $(DEV_STAMP) ## check the layers of ARCHITECTURE.md with import-linter
	@$(BIN)/lint-imports --no-logo

types: $(DEV_STAMP) ## check types with mypy
	@$(BIN)/mypy

pytest: $(DEV_STAMP) ## run only tests and doctests [WORKERS=2 ARGS="tests/models -k resnet"]
	@# One process runs all tests of a file, which share fixtures, in the order of tests/conftest.py: slow files first.
	@# If a process dies, the run ends: replaced by another one, pytest-xdist 3.8 waits forever after the last test.
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadscope --no-loadscope-reorder --max-worker-restart=0 \
		--durations=15 $(ARGS)

docs: $(DOCS_STAMP) ## build the site in site/, without a network; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build
	@echo "Open site/index.html, or, with search: $(PYTHON) -m http.server --directory site"

format: $(DEV_STAMP) ## apply the automatic fixes and the formatter of ruff
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

lock: $(DEV_STAMP) ## resolve the lock files again [UPGRADE=--upgrade for the newest versions]
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet $(UPGRADE) \
		setup.py --extra bayesian --extra heif --extra imagenet --extra jax --extra mlflow --extra onnx --extra openvino --extra ray --extra records --extra serve --extra wandb --extra dev -o requirements-dev.lock
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet $(UPGRADE) \
		setup.py -c requirements-dev.lock -o requirements.lock
	@$(BIN)/python -c 'import importlib.metadata as m; print(*(r.split(";")[0] for r in m.requires("tfeff") if "\"docs\"" in r), sep="\n")' | \
		$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet $(UPGRADE) - -o requirements-docs.lock

build: $(DEV_STAMP) ## build sdist and wheel in dist/
	@rm -rf build dist
	@$(BIN)/python -m build --no-isolation

clean: ## remove build outputs and caches; keep .venv and runs
	@rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find tfeff tests tools configs -name __pycache__ -type d -prune -exec rm -rf {} +

$(DOCS_STAMP): requirements-docs.lock
	$(call environment,$(DOCS_VENV),$<)
	@touch $@

$(RUN_STAMP): requirements.lock setup.py
	$(call install,$<)
	@touch $@

# The development lock contains the other one (see tests/test_architecture.py), so this writes both stamps.
$(DEV_STAMP): requirements-dev.lock requirements.lock setup.py
	$(call install,$<)
	@touch $(RUN_STAMP) $@
