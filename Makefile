# What the README's commands call. Each target does all the set-up that it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0

.PHONY: demo test check bench clean

demo: $(VENV)/ready
	$(BIN)/holdfast run demo

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -q

check: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/ready-bench
	$(BIN)/python speed/speed.py
	$(BIN)/python speed/reproduction.py
	$(BIN)/python speed/rows.py

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache

# torch goes first and by its exact version: a range lets another package pull a build with gigabytes of CUDA.
$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

$(VENV)/ready-bench: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[bench]"
	touch $@
