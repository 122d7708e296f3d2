# Two commands: make demo, make test. Each sets up what it needs in .venv first.
PY ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test check bench validate clean

demo: $(VENV)/.ok-base
	$(RUN) -m bridge demo

check: $(VENV)/.ok-base
	$(RUN) -m bridge demo --check

test: $(VENV)/.ok-dev
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest

bench: $(VENV)/.ok-dev
	$(RUN) -m benchmarks.rooms

validate: $(VENV)/.ok-base
	$(RUN) -m bridge validate --rooms 20 --messages 200 --picture docs/validate.svg

$(VENV)/bin/python:
	$(PY) -m venv $(VENV)

$(VENV)/.ok-base: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install -q -c constraints.txt -e '.[fast]'
	touch $@

$(VENV)/.ok-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install -q -c constraints.txt -e '.[fast,dev,e2e]'
	touch $@ $(VENV)/.ok-base

clean:
	rm -rf $(VENV) build dist *.egg-info
