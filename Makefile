# Everything a user or a developer does, by name. `make` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
SCALE ?= cpu

PYTHONS ?= 3.10 3.11 3.12 3.13 3.14

.DEFAULT_GOAL := help
.PHONY: help install run experiments figures test test-all lint format audit docs wheel wheel-test clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

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

# A file's tests share what they made at some cost, and so a process. When one dies, pytest-xdist would start another
# that is given nothing to do, and wait for it without end: it is to end the run, which then has failed.
# With a thread each, as many processes as cores do not wait for each other.
# Files in their own order: the one with the fewest tests, which would come last, is one of the longest.
test: $(VENV)/.developer  ## Run all tests (ARGS="-k study" for some)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

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

docs: $(VENV)/.developer  ## Build the documentation site into build/site; a broken link fails
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	$(BIN)/mkdocs build --strict --site-dir build/site

wheel: $(VENV)/.developer  ## Build wheel and sdist into dist/
	rm -rf dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	$(BIN)/python -m build

wheel-test: wheel  ## Install the wheel into an empty environment and run the preset quick there (large: PyTorch)
	rm -rf build/wheel
	$(PYTHON) -m venv build/wheel/env
	build/wheel/env/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	cd build/wheel && env/bin/deap-hpo run --preset quick && env/bin/deap-hpo show quick

test-all:  ## Run the tests with every Python of PYTHONS (each as pythonX.Y on the path, or fetched by uv)
	for version in $(PYTHONS); do \
		python=$$(command -v python$$version || uv python find $$version) && \
		$(MAKE) test PYTHON=$$python VENV=build/venv-$$version || exit 1; \
	done

clean:  ## Delete what can be made again (records in runs/ are kept)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
