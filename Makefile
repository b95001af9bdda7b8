# make demo: install into .venv and run the main job on the bundled model.   make test: the tests.
# make gallery: the figures of docs/gallery.md again, about a minute.
# make pictures: the pictures of README.md again: make demo, its report, and a Chromium that takes a picture of it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo
GALLERY := runs/gallery
CHROMIUM ?= chromium

.PHONY: demo gallery pictures test lint clean

demo: $(VENV)/.installed
	rm -rf $(RUN)
	$(BIN)/nsim map sddpm-digits --chip loihi
	$(BIN)/nsim run sddpm-digits --chip loihi --sampler ddim:50 --seed 0 --out $(RUN)

gallery: $(VENV)/.installed
	rm -rf $(GALLERY) docs/gallery
	$(BIN)/nsim run sddpm-digits --chip loihi --sampler ddim:5 --seed 0 --out $(GALLERY)/run
	$(BIN)/nsim compare $(GALLERY)/run $(GALLERY)/run@davies2018 --out $(GALLERY)/compared
	$(BIN)/nsim sweep sddpm-digits --time-steps 2,4 --sampler ddim:2,ddim:5,ddim:10 --quality 64 --out $(GALLERY)/sweep
	mkdir -p docs/gallery
	cp $(GALLERY)/run/*.png $(GALLERY)/compared/waterfall-[12].png $(GALLERY)/sweep/*.png docs/gallery/

pictures: demo
	$(BIN)/nsim report $(RUN)
	cp $(RUN)/energy.png docs/energy.png
	$(CHROMIUM) --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,1010 \
		--screenshot=$(CURDIR)/docs/report.png file://$(CURDIR)/$(RUN)/report.html

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
