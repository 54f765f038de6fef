# `make reproduce` and `make test` do everything, set-up included, on Python 3.11 to 3.13.
# An interpreter of your own: make PYTHON=python3.12 reproduce. An environment that exists
# already (conda, a container): make VENV=/path/to/it STAMP= reproduce.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
STAMP ?= $(VENV)/.installed
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet
# Without an NVIDIA GPU the CPU build of torch saves gigabytes; elsewhere PyPI's build is right.
TORCH_INDEX ?= $(shell test "$$(uname -s)" = Linux && ! command -v nvidia-smi >/dev/null \
	&& echo --extra-index-url https://download.pytorch.org/whl/cpu)

.PHONY: help setup reproduce reproduce-all smoke study test test-browser lint format docs clean \
	package-model
help:
	@echo "make reproduce   the mini profile: every notebook, about 50 minutes on two cores"
	@echo "make reproduce-all  and the video model, notebook 13, under an hour more,"
	@echo "                 and five rewards compared, notebook 12, hours more"
	@echo "make test        lint, unit tests, doctests and the smoke profile"
	@echo "make smoke       every notebook with hardly any work, under 4 minutes"
	@echo "make study       ablation, seeds and controls at mini scale, hours"
	@echo "make test-browser  notebooks in JupyterLab, in a real browser, after the smoke profile"
	@echo "make docs        the documentation, docs/_build/html; under a minute"
	@echo "make lint        ruff, the notebooks' rules, the paper index"

setup: $(STAMP)

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 found; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing requirements.lock into $(VENV) (once, some minutes)"
	$(PIP) --no-deps --retries 1 $(TORCH_INDEX) "$$(grep '^torch==' requirements.lock)"
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

reproduce: $(STAMP)
	$(BIN)/python -m qponder_lib.cli run mini

reproduce-all: reproduce
	$(BIN)/python -m qponder_lib.cli run video --run mini
	$(BIN)/python -m qponder_lib.cli run rewards

smoke: $(STAMP)
	$(BIN)/python -m qponder_lib.cli run smoke

study: $(STAMP)
	$(BIN)/python -m qponder_lib.cli run study

# The model that `qponder score` takes where nothing is trained: make package-model RUN=biq2021
package-model: $(STAMP)
	PYTHONPATH=. $(BIN)/python tests/package_model.py $(RUN)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q tests/test_notebook_lint.py tests/test_paper_index.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-browser: smoke $(VENV)/.installed-browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_browser.py

$(VENV)/.installed-browser: $(STAMP)
	$(PIP) --no-build-isolation -e '.[browser]'
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || $(BIN)/playwright install chromium \
	|| echo "no Chromium could be installed: the tests will say so and skip"
	@touch $@

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

$(VENV)/.installed-docs: requirements-docs.lock $(STAMP)
	$(PIP) --no-deps -r requirements-docs.lock
	@touch $@

clean:
	rm -rf $(VENV) build dist docs/_build docs/generated *.egg-info .pytest_cache .ruff_cache .hypothesis
