# What the README's commands call. Each target does all the set-up that it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch is installed first, by its exact version: which build fits depends on the machine, so the lock leaves it out.
TORCH ?= torch==2.13.0
LOCK := requirements.lock
INSTALL := pip install --quiet --disable-pip-version-check
PYTEST := python -m pytest -n 2 --dist loadfile -q

# Compiled files are kept, also where the environment says otherwise: the tests begin hundreds of processes, and each of
# them would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-long test-latest attack check audit bench docs docs-figures docs-photos lock clean

demo: $(VENV)/ready
	$(BIN)/holdfast run demo

test: $(VENV)/ready-dev
	$(BIN)/$(PYTEST) -m "not long"

test-long: $(VENV)/ready-dev
	$(BIN)/$(PYTEST) -m long

# All tests with the newest release of everything but torch: what will fail once the lock is renewed.
test-latest:
	$(PYTHON) -m venv --clear $(VENV)-latest
	$(VENV)-latest/bin/$(INSTALL) $(TORCH)
	$(VENV)-latest/bin/$(INSTALL) --editable ".[dev]"
	$(VENV)-latest/bin/$(PYTEST)

# tests/faults and attacks on the service with large counts: 3,000 files for each parser, 50 kills, 44 stops, 33,000
# prompts, 20 kills of server and worker on each database.
attack: $(VENV)/ready-dev
	$(BIN)/python tests/faults/attack.py

check: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known vulnerabilities of the locked packages. It asks a public service, so it needs the network.
audit:
	$(PYTHON) -m venv --clear $(VENV)-audit
	$(VENV)-audit/bin/$(INSTALL) pip-audit
	$(VENV)-audit/bin/pip-audit --requirement $(LOCK) --strict --no-deps --disable-pip

bench: $(VENV)/ready-bench
	$(BIN)/python speed/speed.py
	$(BIN)/python speed/evaluation.py
	$(BIN)/python speed/reproduction.py
	$(BIN)/python speed/orchestration.py
	$(BIN)/python speed/growth.py
	$(BIN)/python speed/rows.py
	$(BIN)/python speed/pictures.py
	$(BIN)/python speed/defences.py
	$(BIN)/python speed/report.py

# The site, in build/site. Links and anchors are checked, and any warning ends it.
docs: $(VENV)/ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml
	@echo "build/site/index.html"

# The pictures of the site, by the simulations that they show; and their figures in the text. About a minute.
docs-figures: $(VENV)/ready
	$(BIN)/python docs/site/draw.py

# The picture of an audit's page, and the recording of the demo, for the README. Needs Chromium.
docs-photos: $(VENV)/ready-dev
	$(BIN)/python docs/site/photograph.py

# The newest releases that go together and with TORCH, for every extra and on every system.
lock:
	$(PYTHON) -m venv --clear $(VENV)-lock
	$(VENV)-lock/bin/$(INSTALL) uv
	echo "$(TORCH)" | UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)-lock/bin/uv pip compile --quiet --universal \
		--python-version 3.11 --all-extras --annotation-style line --output-file $(VENV)-lock/all pyproject.toml -
	grep -Ev "^(torch=|triton=|nvidia-|cuda-)" $(VENV)-lock/all > $(LOCK)

clean:
	rm -rf $(VENV) $(VENV)-latest $(VENV)-lock $(VENV)-audit build runs .pytest_cache .mypy_cache .ruff_cache

$(VENV)/ready: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(INSTALL) --constraint $(LOCK) $(TORCH)
	$(BIN)/$(INSTALL) --constraint $(LOCK) --editable .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(BIN)/$(INSTALL) --constraint $(LOCK) --editable ".[dev]"
	touch $@

$(VENV)/ready-docs: $(VENV)/ready
	$(BIN)/$(INSTALL) --constraint $(LOCK) --editable ".[docs]"
	touch $@

$(VENV)/ready-bench: $(VENV)/ready
	$(BIN)/$(INSTALL) --constraint $(LOCK) --editable ".[bench]"
	touch $@
