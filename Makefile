# `make repro` and `make test` are all that is needed; both set up .venv by themselves, once.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

# DVC writes dvc.lock in place: a kill at that moment tears it, and DVC then refuses to go on
WHOLE := import yaml, dvc.schema; dvc.schema.COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(open("dvc.lock")))
TORN := dvc.lock is torn, as by a kill: \`cp .psface/dvc.lock dvc.lock\`, then make repro again (docs/pipeline.md)

.DEFAULT_GOAL := help
.PHONY: help setup repro test lint format bench docs yale benchmark-data recognition aifr fas mask-data mask-yale masks

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/.ready: pyproject.toml constraints.txt
	@echo "setting up .venv (once; a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(BIN)/.ready ## set up .venv alone (4 GB)

repro: $(BIN)/.ready ## run the whole pipeline; open runs/report/index.html afterwards
	@test ! -e dvc.lock || $(BIN)/python -c '$(WHOLE)' 2> /dev/null || { echo "$(TORN)" >&2; exit 2; }
	@$(BIN)/dvc repro

# a file's tests share fixtures and go to one process, in the order of the folders: tests/e2e, the longest, comes early
test: $(BIN)/.ready ## run the tests in two processes (slow ones: make test PYTEST='-m slow'; in one: PYTEST=-n0)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

lint: $(BIN)/.ready ## check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(BIN)/.ready ## put the code into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(BIN)/.ready ## measure the speed of each stage (docs/benchmarks.md; after make repro)
	@test -d data/simulated || { echo "data/simulated is missing: run make repro first" >&2; exit 2; }
	$(BIN)/python benchmarks/simulate.py
	$(BIN)/python benchmarks/reconstruct.py data/simulated
	$(BIN)/python benchmarks/crop.py
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/evaluate.py

docs: $(BIN)/.docs ## build the site of docs/; open site/index.html afterwards
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

$(BIN)/.docs: $(BIN)/.ready
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

yale: ## the real faces: make yale DATA=/path/to/CroppedYale (after make repro)
	@test -d "$(DATA)" || { echo "make yale DATA=/path/to/CroppedYale: '$(DATA)' is not a folder" >&2; exit 2; }
	@$(MAKE) --no-print-directory $(BIN)/.ready
	@mkdir -p recipes/yale/data
	@ln -sfn "$$(realpath "$(DATA)")" recipes/yale/data/frames
	@cd recipes/yale && "$(CURDIR)/$(BIN)/dvc" repro

benchmark-data: $(BIN)/.ready ## the faces of the recognition benchmark (docs/recognition.md): half an hour
	@cd recipes/recognition && "$(CURDIR)/$(BIN)/dvc" repro
	@cd recipes/recognition-fresh && "$(CURDIR)/$(BIN)/dvc" repro

recognition: $(BIN)/.ready ## train and score every run of the recognition benchmark; goes on where it was stopped
	@$(BIN)/python benchmarks/recognition.py

mask-data: $(BIN)/.ready ## the faces of the networks that know of masks (docs/masks.md): 20 minutes
	@cd recipes/mask && "$(CURDIR)/$(BIN)/dvc" repro

mask-yale: ## the real faces with painted masks: make mask-yale DATA=/path/to/CroppedYale
	@test -d "$(DATA)" || { echo "make mask-yale DATA=/path/to/CroppedYale: '$(DATA)' is not a folder" >&2; exit 2; }
	@$(MAKE) --no-print-directory $(BIN)/.ready
	@mkdir -p recipes/mask-yale/data
	@ln -sfn "$$(realpath "$(DATA)")" recipes/mask-yale/data/frames
	@cd recipes/mask-yale && "$(CURDIR)/$(BIN)/dvc" repro

masks: $(BIN)/.ready ## train and score a seed of every run of recipes/mask; goes on where it was stopped
	@$(BIN)/python benchmarks/masks_runs.py --seeds 7
	@$(BIN)/python benchmarks/masks_tables.py

aifr: $(BIN)/.ready ## age-invariant recognition: faces, networks, a report (docs/age.md)
	@cd recipes/aifr && "$(CURDIR)/$(BIN)/dvc" repro

fas: $(BIN)/.ready ## face age synthesis and its trial before the truth (docs/age.md), on the faces of recipes/aifr
	@cd recipes/aifr && "$(CURDIR)/$(BIN)/dvc" repro balance truths
	@cd recipes/fas && "$(CURDIR)/$(BIN)/dvc" repro
