# make demo   set up and run the main job on the bundled pair (no GPU, no torch)
# make test   set up and run lint, types and tests
# make build  wheel and sdist, the same bytes for the same commit
# make audit  look for known vulnerabilities in the installed packages
# make clean  remove what these made

PYTHON ?= python3
# One torch for all test runs; `make test TORCH='torch>=2.4'` takes another.
TORCH ?= torch==2.13.0
# Test files run at a time; each wants a core and up to 3 GB.
JOBS ?= 2
DEMO_VENV := .venv-demo
TEST_VENV := .venv
PIP_QUIET := --quiet --disable-pip-version-check

.PHONY: demo test lint types unit build audit clean

demo: $(DEMO_VENV)/.ready
	$(DEMO_VENV)/bin/stereo-run --demo -o out/demo

test: lint types unit

lint: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff check .
	$(TEST_VENV)/bin/ruff format --check .

types: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/mypy

# Tests that measure time run after the others, with nothing beside them.
unit: $(TEST_VENV)/.ready
	OMP_NUM_THREADS=1 $(TEST_VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile -m "not alone"
	$(TEST_VENV)/bin/python -m pytest -m alone

# The time in the archives is the commit's, so that anyone who builds it gets the same bytes.
build: $(TEST_VENV)/.ready
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(TEST_VENV)/bin/python -m hatchling build

# Known vulnerabilities in what `make test` installs; asks PyPI's advisory service.
audit: $(TEST_VENV)/.ready
	$(PYTHON) -m venv $(TEST_VENV)/audit
	$(TEST_VENV)/audit/bin/python -m pip install $(PIP_QUIET) pip-audit
	$(TEST_VENV)/bin/python -m pip freeze --exclude-editable > $(TEST_VENV)/audit/installed.txt
	$(TEST_VENV)/audit/bin/pip-audit --no-deps --disable-pip -r $(TEST_VENV)/audit/installed.txt

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
