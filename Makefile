# Everything a person types. Each target makes .venv where there is none, from pinned versions.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input

.PHONY: demo test lint format types imports kernel docs-check unit cases bench verify clean

demo: .venv/.with-demo  ## diagnose, initialise and train a network that could not learn
	$(BIN)/python examples/demo.py

test: lint types imports kernel unit  ## every check; what CI runs

lint: .venv/.with-dev  ## style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: .venv/.with-dev  ## mend what `make lint` can mend by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: .venv/.with-dev  ## the strict type checker
	$(BIN)/mypy

imports: .venv/.with-dev  ## who may import whom
	$(BIN)/lint-imports --no-logo --no-cache

kernel: .venv/.with-dev  ## the C++ kernel's own tests, under the address and undefined-behaviour sanitizers
	@mkdir -p build
	$(BIN)/cmake -S native -B build/sanitized -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DISOMETRY_SANITIZE=ON > build/sanitized.log
	$(BIN)/cmake --build build/sanitized
	build/sanitized/kernel_test

docs-check: .venv/.with-dev  ## the README's code, and a docstring for every public name
	$(BIN)/pytest tests/test_readme.py tests/test_public_api.py

# One thread a worker: two workers that each take two cores are slower than either alone.
# Keras takes one backend a process: its tests run once for each.
unit: .venv/.with-dev  ## the tests
	KERAS_BACKEND=jax OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --durations=15
	KERAS_BACKEND=torch OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -q tests/keras src/isometry/keras
	KERAS_BACKEND=tensorflow OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -q tests/keras src/isometry/keras

cases: .venv/.with-dev  ## every fault and every trap of the checker, as a confusion table
	OMP_NUM_THREADS=1 $(BIN)/python tests/cases/confusion.py

bench: .venv/.with-dev  ## what filling costs, against torch, NumPy, and JAX and Keras where installed
	$(BIN)/python benchmarks/generator.py
	$(BIN)/python benchmarks/whole_model.py

verify: .venv/.with-dev  ## the evidence for the stream; `make verify PARTS="words streams"` for some of it
	$(BIN)/python tools/verify $(PARTS)

clean:  ## remove what the other targets made
	rm -rf .venv build dist demo.png .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "isometry needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

# The stamp is as old as the last installation that succeeded.
.venv/.with-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing isometry[$*] into .venv, with PyTorch: a minute or two"
	@$(PIP) -c constraints.txt -e '.[$*]'
	@touch $@
