# Needs Python 3.11, 3.12 or 3.13 with pip, and make. `make help` lists what can be made.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKDIR ?= runs/demo
# Test processes at once. Each imports TensorFlow, which takes 10 s and half a GB.
WORKERS ?= 2
# What pytest gets besides, for example: make pytest ARGS="tests/models -k resnet"
ARGS ?=

# A stamp is written when its lock file is installed; as long as it is newer than the lock, pip is not called.
RUN_STAMP := $(VENV)/installed-run
DEV_STAMP := $(VENV)/installed-dev

SUPPORTED := (3, 11) <= sys.version_info < (3, 14)
define refuse_python
	echo "tfeff needs Python 3.11, 3.12 or 3.13 with venv and pip (on Debian and Ubuntu: apt install python3-venv)." >&2; \
	echo "$(PYTHON) is $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	exit 1
endef

# $(call install,LOCK): the lock's packages into $(VENV), made first where need be; then this one, editable and offline.
define install
	@$(BIN)/python -c 'import pip, sys; sys.exit(not $(SUPPORTED))' 2>/dev/null || { \
		$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(not $(SUPPORTED))' 2>/dev/null || { $(refuse_python); }; \
		echo "Installing $(1) into $(VENV): some minutes, once."; \
		$(PYTHON) -m venv --clear $(VENV); \
	}
	$(BIN)/python -m pip install --disable-pip-version-check --requirement $(1)
	$(BIN)/python -m pip install --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint imports types pytest format lock build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUN_STAMP) ## find scaling coefficients on handwritten digits, train and export the network [WORKDIR=runs/demo]
	@$(BIN)/python -m tfeff.search --config=configs/digits_search.py --workdir=$(WORKDIR)/search
	@$(BIN)/python -m tfeff.train --config=configs/digits_family.py --workdir=$(WORKDIR)/phi2 \
		--config.model.family=$(WORKDIR)/search --config.model.phi=2

test: lint imports types pytest ## everything that must pass: lint, layers, types, tests and doctests [WORKERS=2]

lint: $(DEV_STAMP) ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

imports: $(DEV_STAMP) ## import-linter: the layers of ARCHITECTURE.md
	@$(BIN)/lint-imports --no-logo

types: $(DEV_STAMP) ## mypy
	@$(BIN)/mypy

pytest: $(DEV_STAMP) ## tests and doctests alone [WORKERS=2 ARGS="tests/models -k resnet"]
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadscope --durations=15 $(ARGS)

format: $(DEV_STAMP) ## mend what ruff can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

lock: $(DEV_STAMP) ## resolve both lock files anew [UPGRADE=--upgrade for the newest versions]
	@$(BIN)/uv pip compile --universal --python-version 3.11 --quiet $(UPGRADE) \
		setup.py --extra jax --extra ray --extra dev -o requirements-dev.lock
	@$(BIN)/uv pip compile --universal --python-version 3.11 --quiet $(UPGRADE) \
		setup.py -c requirements-dev.lock -o requirements.lock

build: $(DEV_STAMP) ## sdist and wheel into dist/
	@rm -rf build dist
	@$(BIN)/python -m build --no-isolation

clean: ## remove what was built and cached; .venv and runs stay
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find tfeff tests tools configs -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_STAMP): requirements.lock setup.py
	$(call install,$<)
	@touch $@

# The development lock holds all of the other one (see tests/test_architecture.py), so this writes both stamps.
$(DEV_STAMP): requirements-dev.lock requirements.lock setup.py
	$(call install,$<)
	@touch $(RUN_STAMP) $@
