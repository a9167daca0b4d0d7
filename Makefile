# Two commands are enough: `make demo` and `make test`. Both set everything up first.
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8420
DATA ?= .comfyfleet
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo up down test check bench chaos docs clean
help:
	@echo "make demo    set up, start the fleet, run eight images through it, stop      (build/demo/)"
	@echo "make up      set up, start the fleet and leave it running  [PORT=8420 DATA=.comfyfleet]"
	@echo "make down    stop what 'make up' started                   [DATA=.comfyfleet]"
	@echo "make test    set up and run the tests"
	@echo "make check   layers, house figures, types, lint"
	@echo "make bench   measure; writes build/bench.json"
	@echo "make chaos   200 runs over 4 agents while everything is killed at random"
	@echo "make docs    regenerate the generated documents (openapi.json, diagrams)"

setup: $(STAMP)
$(STAMP): pyproject.toml constraints.txt deploy/bootstrap.py
	@$(PYTHON) deploy/bootstrap.py $(VENV)
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m client demo

up: $(STAMP)
	@$(BIN)/python -m client up --port $(PORT) --data $(DATA)

down: $(STAMP)
	@$(BIN)/python -m client down --data $(DATA)

test: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --max-worker-restart 2 $(ARGS)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/test_house.py

bench: $(STAMP)
	@$(BIN)/python -m bench $(ARGS)

chaos: $(STAMP)
	@CHAOS_RUNS=200 $(BIN)/python -m pytest -q -s tests/chaos $(ARGS)

docs: $(STAMP)
	@$(BIN)/python deploy/make_docs.py

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
