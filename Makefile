# make demo: install into .venv and run the main job on the bundled model.   make test: the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	rm -rf $(RUN)
	$(BIN)/nsim map sddpm-digits --chip loihi
	$(BIN)/nsim run sddpm-digits --chip loihi --sampler ddim:50 --seed 0 --out $(RUN)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs

# Editable, so that a changed source needs no new installation; only a changed pyproject.toml does.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; assert (3, 11) <= sys.version_info < (3, 14), 'nsim needs Python 3.11 to 3.13; make PYTHON=python3.11 ...'"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed tests/foreign_libraries.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	-$(BIN)/pip install --quiet --no-deps --requirement tests/foreign_libraries.txt
	touch $@
