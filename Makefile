# make demo   trains a tiny CoCa on handwritten digits and shows what it learned
# make test   runs the tests
# make clean  removes the demo's run; `make distclean` the virtual environment too

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Written when everything is installed; a change of the requirements installs again.
INSTALLED := $(VENV)/.requirements-installed
TESTS_INSTALLED := $(VENV)/.test-requirements-installed

.PHONY: demo test clean distclean

demo: $(INSTALLED)
	$(BIN)/python -m official_coca.tools.digits_demo --output_dir=runs/demo

test: $(TESTS_INSTALLED)
	$(BIN)/python -m pytest

$(INSTALLED): requirements.txt constraints.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || \
		{ echo "error: $(PYTHON) is not installed; install Python 3.11 or give PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(TESTS_INSTALLED): $(INSTALLED) requirements-test.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	@touch $@

clean:
	rm -rf runs/demo

distclean: clean
	rm -rf $(VENV)
