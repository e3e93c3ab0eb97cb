# Two commands need nothing but python3 (3.11 to 3.13), make and a package index:
#   make demo   simulate data, train a small detector over five folds, show how good it is
#   make test   the linter and the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := sim,dev
READY := $(VENV)/.installed

TRAIN ?= 16000
TEST ?= 4000

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Made anew only when the dependencies change.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	sys.exit(0 if ok else "error: Python %d.%d is not supported: name one of 3.11 to 3.13, e.g. make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@touch $(READY)

install: $(READY) ## make .venv with everything in it

demo: $(READY) ## simulate, train, predict and draw in minutes on two cores
	$(BIN)/python prep_data.py --simulate $(TRAIN) --test $(TEST) --out input/demo --cache
	$(BIN)/python train.py --config Demo --resume

test: $(READY) lint ## lint and run the tests
	$(BIN)/python -m pytest -m "not slow"

test-all: $(READY) lint ## the same with the slow tests
	$(BIN)/python -m pytest

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and what Python left behind (never data or results)
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
