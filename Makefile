# Two commands need nothing but python3 (3.11 to 3.13), make and a package index:
#   make demo   simulate data, train a small detector over folds, find GW150914: five minutes
#   make test   the linter and the tests
# and the whole way, of several experiments, pseudo-labels and a stack:
#   make pipeline-demo
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
BIN := $(VENV)/bin
EXTRAS := sim,gwosc,stack,export,tune,parquet,mlflow,notebook,pipeline,docs,dev
READY := $(VENV)/.installed

# uv downloads in parallel: a minute where pip takes five. It does not read pip's own settings (a mirror, a
# proxy's certificate): the indexes of pip's variables are handed on, and where uv fails pip does it.
# $(call install,ENVIRONMENT,OPTIONS)
define install
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check uv \
	&& UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-https://pypi.org/simple}}" \
	UV_INDEX="$${UV_INDEX:-$${PIP_EXTRA_INDEX_URL:-}}" \
	$(1)/bin/python -m uv pip install --quiet --compile-bytecode --python $(1) $(2) -e '.[$(EXTRAS)]' \
	|| { echo "uv did not install the packages: pip does, which takes some minutes" >&2; \
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2) -e '.[$(EXTRAS)]'; }
endef

DEVICE ?= cpu
PIPELINE_DATA := train_path=input/pipeline_demo/train.csv test_path=input/pipeline_demo/test.csv \
	train_cache=input/pipeline_demo/train_cache.f32 test_cache=input/pipeline_demo/test_cache.f32

# For run.json of runs in a container; '+' says that tracked files have changed.
REVISION = $$(git rev-parse HEAD)$$(git diff --quiet HEAD || echo +)

.DEFAULT_GOAL := help
.PHONY: help install doctor notebook demo pipeline-demo weights gpu-check report docs image test test-all test-oldest chaos audit lint format clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Installed again only when the dependencies change.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	sys.exit(0 if ok else "error: Python %d.%d is not supported: name one of 3.11 to 3.13, e.g. make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(call install,$(VENV))
	@touch $(READY)

install: $(READY) ## make .venv with everything in it

doctor: $(READY) ## what is installed, what is missing, how fast this machine is
	$(BIN)/python -m doctor

notebook: $(READY) ## the tutorial with pictures, in the browser
	$(BIN)/jupyter lab tutorial.ipynb

demo: $(READY) ## simulate, train, predict, and find GW150914, in five minutes on two cores
	$(BIN)/python -m demo

pipeline-demo: $(READY) ## two experiments, their pseudo-label reruns and the stack of the four
	$(BIN)/python prep_data.py --simulate 6000 --test 1500 --out input/pipeline_demo --cache
	$(BIN)/snakemake --config experiments=Demo,DemoSpec,PseudoDemo,PseudoDemoSpec \
		results=results/pipeline_demo settings="cv=2 $(PIPELINE_DATA)"

# $(call train_weights,EXPERIMENT,FILE,SETTINGS): train fold 0, score it and ship it.
define train_weights
	$(BIN)/python train.py --config $(1) --limit_fold 0 --resume --results results/weights --set amp=bf16 $(3)
	$(BIN)/python -m benchmarks.detection --config $(1) --results results/weights --set amp=bf16 \
		--near_optimal 0 --out results/weights/$(2)_ruler
	$(BIN)/python -m benchmarks.detection.ship_weights --config $(1) --results results/weights --set amp=bf16 \
		--ruler results/weights/$(2)_ruler/detection.json --out weights/$(2).safetensors --overwrite
endef

weights: $(READY) ## train what lies in weights/ anew: an hour on two cores
	$(BIN)/python prep_data.py --simulate 6000 --test 1500 --out input/pipeline_demo --cache
	$(BIN)/python prep_data.py --simulate 1500 --test 100 --config Mdc1 --out input/mdc1
	$(BIN)/python prep_data.py --simulate 1500 --test 100 --config O4 --out input/o4
	$(call train_weights,Wave07,wave07,$(PIPELINE_DATA))
	$(call train_weights,Mdc1,mdc1)
	$(call train_weights,O4,o4)

gpu-check: $(READY) ## check this machine's GPU in nine minutes: results/gpu_check/gpu_check.md
	$(BIN)/python -m benchmarks.gpu_check

report: $(READY) ## results/index.html: every experiment on one page
	$(BIN)/python report.py

docs: $(READY) ## site/: the documentation as a site, every link checked
	$(BIN)/python -m documentation
	$(BIN)/mkdocs build --strict

image: ## a container image, g2net; for GPUs: make image DEVICE=cuda
	docker build --build-arg DEVICE=$(DEVICE) --build-arg REVISION=$(REVISION) --tag g2net .

test: $(READY) lint ## lint and run the tests
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-all: $(READY) lint ## the same with the slow tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Beside the usual environment, as both are used in turn.
test-oldest: ## the tests with the oldest versions that pyproject.toml allows (Python 3.11, 3.12)
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 13) else \
	"error: these versions know Python 3.11 and 3.12 only: name one, e.g. make test-oldest PYTHON=python3.12")'
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tests/helpers/oldest_versions.py > $(OLDEST)/constraints.txt
	$(call install,$(OLDEST),-c $(OLDEST)/constraints.txt)
	$(OLDEST)/bin/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

chaos: $(READY) ## kill 100 small runs at random moments; all must end as if they had not been
	$(BIN)/python tests/chaos.py --kills 100

audit: $(READY) ## look the installed packages up among known vulnerabilities
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python -m pip_audit --local --skip-editable

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environments and what Python left behind (never data or results)
	rm -rf $(VENV) $(OLDEST) .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
