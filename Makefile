# Two commands: `make demo` and `make test`. Each sets up .venv on a fresh machine and reuses it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[wsi,export,ray]" --group dev
	touch $(STAMP)

demo: $(STAMP)
	rm -rf demo
	$(BIN)/histoproto demo --out demo

# a process for each core: most tests are too small for several threads
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

bench: $(STAMP)
	$(BIN)/python -m benchmarks.speed --out bench.json

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src

clean:
	rm -rf demo .mypy_cache .ruff_cache .pytest_cache
