# One entry for people and for CI. `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# The first of these that is Python 3.11 or newer makes the virtual environment.
PYTHONS ?= python3.11 python3 python3.12 python3.13 python
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# LOCKED= installs the newest versions that pyproject.toml allows instead of the pinned ones.
LOCKED ?= 1

# make demo
DEMO ?= examples/stdlib_census
DEMO_OPTIONS ?= --import $(DEMO)/census.py --set minor=9
# make test ARGS="-k retry -x"
# More than processors: many tests wait for something.
WORKERS ?= 3
ARGS ?=
# make acceptance OWNER=spine
OWNER ?=
ACCEPTANCE := .cache/acceptance.json

.PHONY: help setup demo test test-all crash fuzz check lint format types imports lock-check lock bench acceptance clean

help: ## Show this
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

# Two levels, so that the demo does not wait for a type checker: .runtime is what a user installs, .development is all.

$(BIN)/python:
	@set -e; \
	for python in $(PYTHONS); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Strataflow needs Python 3.11 or newer, tried: $(PYTHONS)" >&2; exit 1; fi; \
	if $$found -c 'import ensurepip, venv' 2>/dev/null; then $$found -m venv $(VENV); \
	elif $$found -c 'import pip, venv' 2>/dev/null; then \
	    rm -rf $(VENV); $$found -m venv --without-pip $(VENV); \
	    $$found -m pip --quiet --python $(VENV)/bin/python install pip; \
	else \
	    echo "$$found can make no virtual environment: install its venv module (Debian: apt install python3-venv)" >&2; \
	    exit 1; \
	fi

$(VENV)/.runtime: requirements.lock pyproject.toml setup.py | $(BIN)/python
	@echo "Installing Strataflow into $(VENV)"
	$(if $(LOCKED),$(PIP) install --require-hashes -r requirements.lock)
	PYTHONWARNINGS=ignore $(PIP) install $(if $(LOCKED),--no-deps) -e .
	@touch $@

$(VENV)/.development: requirements-dev.lock pyproject.toml setup.py | $(BIN)/python
	@echo "Installing Strataflow with its tests and checks into $(VENV)"
	$(if $(LOCKED),$(PIP) install --require-hashes -r requirements-dev.lock)
	PYTHONWARNINGS=ignore $(PIP) install $(if $(LOCKED),--no-deps --no-build-isolation) -e '.[server,otlp,prometheus,test,dev]'
	@$(BIN)/python tools/link_tree.py >/dev/null
	@touch $(VENV)/.runtime $@

setup: $(VENV)/.development ## Make .venv with everything that tests and checks need

demo: $(VENV)/.runtime ## Run an example workflow to its end
	$(BIN)/strataflow run $(DEMO)/workflow.json $(DEMO_OPTIONS)

test: setup ## Run all tests on SQLite and on a real Postgres, found or started
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-all: setup ## The same, and what takes long on both databases
	STRATAFLOW_TESTS=all $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

crash: setup ## Kill engines at every crash point and at random for ten minutes, on both databases
	STRATAFLOW_CRASH=full STRATAFLOW_KILL_S=600 $(BIN)/python -m pytest tests/recovery -n $(WORKERS) $(ARGS)

fuzz: setup ## Send the REST interface many requests made from its own document, on both databases
	STRATAFLOW_FUZZ=full $(BIN)/python -m pytest tests/rest/test_openapi.py -n $(WORKERS) $(ARGS)

check: lint format types imports lock-check ## Lint, formatting, strict types, layers and owners, lock files

lint: setup
	$(BIN)/ruff check .

format: setup
	$(BIN)/ruff format --check .

types: setup
	@$(BIN)/python tools/link_tree.py >/dev/null
	$(BIN)/basedpyright

imports: setup
	@$(BIN)/python tools/link_tree.py >/dev/null
	PYTHONPATH=.cache/links $(BIN)/lint-imports --no-logo --cache-dir .cache/import_linter

lock-check: setup
	$(BIN)/python tools/lock.py --check

lock: setup ## Resolve the lock files anew (needs a network)
	$(BIN)/python tools/lock.py

bench: setup ## Measure
	$(BIN)/python -m bench $(ARGS)

# A test that fails or is missing leaves its rows open, and the report says so; any other trouble of the run ends here.
acceptance: setup ## Prove the acceptance rows, all or those of OWNER=name, and write docs/acceptance.md
	@rm -f $(ACCEPTANCE)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m row --acceptance $(ACCEPTANCE) $(ARGS) \
	    || { code=$$?; [ $$code -eq 1 ] || [ $$code -eq 5 ]; }
	$(BIN)/python -m tests.support.acceptance_report $(ACCEPTANCE) --write docs/acceptance.md $(if $(OWNER),--owner $(OWNER))

clean: ## Remove what builds and runs left behind, but not .venv
	rm -rf build dist .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
