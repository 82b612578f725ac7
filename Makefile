# The targets a newcomer guesses. `make generate PROMPT="red apple, fluent 3d"` needs nothing but Python 3.11 or later.
PYTHON ?= python3
PROMPT ?= red apple, fluent 3d
VENV := .venv
BIN := $(VENV)/bin

.PHONY: generate test test-slow lint format bench clean

# What is needed to draw and to train.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# And what is needed to work on it: tests, checks, the reference implementations.
$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	# Without what it asks for: it would pull torchvision, which does not go with every torch. The tests need its models alone.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps open_clip_torch ftfy wcwidth
	touch $@

generate: $(VENV)/installed
	$(BIN)/unstir generate "$(PROMPT)" $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -q -n auto --dist worksteal

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -q -m slow -n auto --dist worksteal

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
