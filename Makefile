# make demo   set up and run the main job on the bundled pair (no GPU, no torch)
# make test   set up and run lint, types and tests
# make clean  remove what these made

PYTHON ?= python3
# One torch for all test runs; `make test TORCH='torch>=2.4'` takes another.
TORCH ?= torch==2.13.0
DEMO_VENV := .venv-demo
TEST_VENV := .venv
PIP_QUIET := --quiet --disable-pip-version-check

.PHONY: demo test lint types unit build clean

demo: $(DEMO_VENV)/.ready
	$(DEMO_VENV)/bin/stereo-run --demo -o out/demo

test: lint types unit

lint: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff check .
	$(TEST_VENV)/bin/ruff format --check .

types: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/mypy

unit: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python -m pytest

build: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python -m hatchling build

$(DEMO_VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install $(PIP_QUIET) '.[cpu,opencv]'
	touch $@

$(TEST_VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/python -m pip install $(PIP_QUIET) '$(TORCH)'
	$(TEST_VENV)/bin/python -m pip install $(PIP_QUIET) -e '.[dev]'
	touch $@

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) out dist
