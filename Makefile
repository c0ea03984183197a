# What can be done here, each from nothing; `make` alone lists it.
VENV := .venv
COLAB := .venv-colab
PEER := .venv-peer
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
# a process a core, each with one thread; a file stays in one process, which shares its trainings
TESTS = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest
SPREAD := -n auto --dist loadfile

PURELIB := 'import sysconfig; print(sysconfig.get_path("purelib"))'

.DEFAULT_GOAL := help
.PHONY: help install quickstart lab test check notebooks bench docs $(PEER)

help: ## this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1	\2/p' Makefile | expand -t 20

install: $(VENV)/.installed ## make .venv, with the versions of constraints.txt

quickstart: install ## train the built-in model in a notebook, and check what it leaves
	$(VENV)/bin/python scripts/run_notebooks.py --quickstart notebooks/00_quickstart.ipynb

lab: install ## open the quickstart in JupyterLab
	$(VENV)/bin/jupyter lab notebooks/00_quickstart.ipynb

test: install $(COLAB)/.installed ## all tests, then the notebook's with the versions that Colab ships
	$(call TESTS,$(VENV)) -m "not browser" $(SPREAD)
	$(call TESTS,$(VENV)) -m browser --ignore=tests/browser/colab
	$(call TESTS,$(COLAB)) tests/notebook tests/params tests/browser/colab

check: install ## style, floors, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

notebooks: install ## run every notebook into notebooks/_executed
	$(VENV)/bin/python scripts/run_notebooks.py notebooks/*.ipynb

bench: install ## measure the goals against the peers, one line a goal
	$(VENV)/bin/python benchmarks

docs: install ## write the tables of parameters into docs/parameters.md
	$(VENV)/bin/python scripts/write_parameters.py

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# the heavy packages are shared: the pinned few stand before them on the path, as they do on Colab
$(COLAB)/.installed: $(VENV)/.installed constraints-colab.txt
	rm -rf $(COLAB)
	$(VENV)/bin/python -m venv --without-pip $(COLAB)
	$(VENV)/bin/python -m pip --python $(COLAB)/bin/python install --quiet --disable-pip-version-check --no-deps -r constraints-colab.txt
	echo "import site; site.addsitedir('$$($(VENV)/bin/python -c $(PURELIB))')" > "$$($(COLAB)/bin/python -c $(PURELIB))/shared.pth"
	touch $@

# an environment of its own for a peer of the benchmarks: its libraries are two years older
$(PEER): $(PEER)/.installed

$(PEER)/.installed: benchmarks/peer-autotrain.txt
	rm -rf $(PEER)
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peer-autotrain.txt
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps autotrain-advanced==0.8.36
	touch $@
