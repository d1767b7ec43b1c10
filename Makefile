# Everything a user or a developer does, by name. `make` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
SCALE ?= cpu

.DEFAULT_GOAL := help
.PHONY: help install run experiments figures test lint format audit clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/deap-hpo: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.developer: $(BIN)/deap-hpo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,lint]"
	@touch $@

install: $(BIN)/deap-hpo  ## Create .venv and install the package

run: install  ## Evolve on Fashion-MNIST with the preset quick (more: ARGS="--preset paper/run_4")
	$(BIN)/deap-hpo run $(ARGS)

experiments: $(VENV)/.developer  ## Run what the figures are made of (SCALE=full: with a GPU)
	$(BIN)/python figures/experiments.py --scale $(SCALE) $(ARGS)

figures: $(VENV)/.developer  ## Draw all figures, and fill their numbers into docs/reproduction.md
	$(BIN)/python figures/draw.py
	$(BIN)/python figures/reproduction.py

test: $(VENV)/.developer  ## Run all tests (ARGS="-k study" for some)
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.developer  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.developer  ## Bring the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: $(VENV)/.developer  ## Look the dependencies up in the advisory database (needs the internet)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --skip-editable

clean:  ## Delete what can be made again (records in runs/ are kept)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
