# make install   the environment in .venv, with pinned dependencies; then .venv/bin/backstory is the command
# make demo      installs, then trains on the embedded data set and shows what the model can do (runs/demo)
# make test      installs, then runs the linter, the type checker, every fast test and the docstring examples
# make test-lowest the fast tests with the lowest versions that pyproject.toml declares, in .venv-lowest
# make test-slow the tests that train for minutes or need data that is not in the repository

PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-lowest test-slow lint clean

install: .venv/.installed

.venv/.installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Backstory needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: install
	$(BIN)/python examples/demo.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

.venv-lowest/.installed: requirements-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check -r requirements-lowest.txt
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

test-lowest: .venv-lowest/.installed
	.venv-lowest/bin/pytest

test-slow: install
	$(BIN)/pytest -m slow

clean:
	rm -rf .venv .venv-lowest runs build dist
