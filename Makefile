# `make demo` and `make test` also install everything they need, on a machine with Python.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test test-long fuzz chaos lint format constraints clean

demo: $(READY)  ## Run a search on scikit-learn's digits; about two minutes on two cores.
	$(BIN)/rtune search digits

test: $(READY) lint  ## Run the linters, the type checker and the tests.
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

test-long: $(READY)  ## Run the long tests, which `make test` skips: clusters, faults, replicates, other libraries; about an hour.
	$(BIN)/python -m pytest -m long

fuzz: $(READY)  ## Read 10,000 changed search files, options and logs; about five minutes.
	$(BIN)/python -m tests.support.fuzzing --examples 10000 --seed 0

chaos: $(READY)  ## Disturb searches for eight minutes by faults of many kinds, and check what they saved.
	$(BIN)/python -m tests.support.cluster.chaos --seed 0 --minutes 8

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "rtune needs Python 3.11 or newer; set it, for example, with make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up .venv (about 7 GB with torch, a few minutes, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

constraints: $(READY)  ## Write the versions of the installed packages to constraints.txt.
	$(BIN)/python -m pip freeze --all --exclude-editable | grep -v "^pip==" > constraints.txt

clean:
	rm -rf .venv
