# `make` prints this file's targets. The first use of any of them makes .venv; an up-to-date .venv costs nothing.
PYTHON ?= python3
WORKERS ?= 2
COVERAGE ?= 95
EXTRAS := cli,postgres,dev,bench
PIP_FLAGS := --quiet --disable-pip-version-check
BIN := .venv/bin
STAMP := .venv/.ready
# What covers model, flow and engines by itself; measuring the rest, too, would take half as long again.
MEASURED := tests/unit tests/contract tests/integration
TYPED := $(wildcard src examples benchmarks tests/typing tests/reliability tests/test_tidy.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo check test docs bench reliability lock clean again

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv from python3 (another: PYTHON=python3.12), versions by constraints.txt
	@echo ".venv is ready"

demo: $(STAMP) ## run the shop on generated traffic; DATA=path: the purchase-order log there; URL=: on another store
	@$(BIN)/python -m examples.demo $(if $(DATA),"$(DATA)") $(if $(URL),--url "$(URL)")

check: $(STAMP) ## formatting, lint, types, floors and house rules: what needs no run of the library
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/pyright --warnings
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/pytest -q tests/test_tidy.py

test: $(STAMP) ## every test, long checks in their short forms; model, flow and engines covered to 95 %
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-report= $(MEASURED)
	@failed=0; for floor in model flow engines; do \
	  report="$(BIN)/coverage report --include=src/foldlog/$$floor/*"; \
	  echo "coverage with branches, foldlog.$$floor: $$($$report --format=total) %, at least $(COVERAGE) %"; \
	  missing=$$($$report --fail-under=$(COVERAGE)) || { failed=1; echo "$$missing"; }; \
	done; exit $$failed
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(MEASURED:%=--ignore=%)

docs: $(STAMP) ## build docs/ into site/; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP) ## measure Foldlog, its peers and the raw limit; ARGS="--engine postgres" on PostgreSQL
	@$(BIN)/python -m benchmarks $(ARGS)

reliability: $(STAMP) ## the long crash, fault and race checks; ARGS="--help" shows more
	@$(BIN)/python -m tests.reliability $(ARGS)

lock: ## write constraints.txt anew: the newest versions that pyproject.toml allows; use the oldest Python
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip install $(PIP_FLAGS) '.[$(EXTRAS)]'
	@{ echo '# Exact versions of everything, written by `make lock` from the ranges in pyproject.toml.'; \
	  .venv-lock/bin/python -m pip freeze --exclude foldlog; } > constraints.new
	@mv constraints.new constraints.txt && rm -rf .venv-lock

clean: ## remove .venv and everything that was generated
	rm -rf .venv .venv-lock site dist build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp names the directory: a copied or moved clone gets a new .venv, else it would run the other one's source.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): again
CLEAR := --clear
endif

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Foldlog needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1)."; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; } >&2
	@echo "making .venv ..."
	@$(PYTHON) -m venv $(CLEAR) .venv || { \
	  echo "$(PYTHON) cannot make a virtual environment; Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt hatchling editables
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt --no-build-isolation -e '.[$(EXTRAS)]'
	@pwd > $(STAMP)
