# Everything starts here: `make run` needs only Python 3.11 to 3.13 and make.
#   PYTHON=python3.12   the Python that .venv is made with
#   TORCH=auto|cpu|cuda the build of torch; auto: the CUDA build where an NVIDIA driver answers
#   ARGS="…"            passed on to `zen run` or pytest

PYTHON ?= python3
TORCH ?= auto
ARGS ?=

BIN := .venv/bin
NAMED := $(if $(filter file default undefined,$(origin PYTHON)),,--python-named)
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --durations=10 --durations-min=1
INSTALL := $(PYTHON) tools/bootstrap.py --torch "$(TORCH)" $(NAMED)

.DEFAULT_GOAL := help
.PHONY: help install run test test-all lint record lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16
	@sed -n 's/^#   /  /p' $(firstword $(MAKEFILE_LIST))

install: ## install the committed versions into .venv
	@$(INSTALL)

run: install ## install, then collect, validate, train, evaluate and register a model
	@$(BIN)/zen run $(ARGS)

test: ## install with the tools for the tests, then run them: at most 6 minutes
	@$(INSTALL) --dev
	@$(PYTEST) $(ARGS)

test-all: ## the same with the large tests: at most 40 minutes
	@$(INSTALL) --dev
	@$(PYTEST) -m "large or not large" $(ARGS)

lint: ## ruff and mypy
	@$(INSTALL) --dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

record: ## record the code of every stage; read the message of tests/test_stage_versions.py first
	@$(INSTALL) --dev
	@$(BIN)/python tools/record_stages.py

lock: ## resolve the newest versions that fit and write requirements.lock
	@$(PYTHON) tools/lock.py

clean: ## remove .venv and what tools left behind; .zen, with your models, stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find flows tests tools zen_pipeline -name __pycache__ -type d -prune -exec rm -rf {} +
