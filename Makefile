# tokengrid: `make demo` and `make test` do all their own set-up in .venv, and none when it is done.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test test-fast lint docs browser clean

help:
	@echo "make demo       run the whole grid of six tasks on synthetic speech, offline, and print the matrix"
	@echo "make test       everything that CI runs"
	@echo "make test-fast  the quick part of it"
	@echo "make lint       ruff"
	@echo "make docs       the documentation as HTML, in docs/_build"
	@echo "make install    only install into $(VENV)"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tokengrid needs Python 3.11 or newer; give one: make PYTHON=python3.12 install"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: install
	$(BIN)/tokengrid run demo

# Two processes share the tests, a file at a time.
PYTEST := RAY_AUTH_MODE=disabled $(BIN)/python -m pytest -n 2 --dist loadfile
test: install browser lint test-fast
	$(PYTEST) -m slow --durations=15

test-fast: install
	$(PYTEST) -m "not slow" --durations=10

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: install
	$(BIN)/sphinx-build -q -W --keep-going -n -b html docs docs/_build

# The report is tested in a real browser. On a CI machine it is installed; elsewhere those tests skip, saying so.
browser:
	@if [ -n "$$CI" ] && ! command -v chromedriver >/dev/null && command -v apt-get >/dev/null; then \
		(apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver) >/dev/null 2>&1 \
		|| echo "no Chromium could be installed: the tests of the report in a browser will be skipped"; fi

clean:
	rm -rf .tokengrid docs/_build build dist *.egg-info
