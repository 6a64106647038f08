# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test test-long chaos lint format constraints clean

demo: $(READY)  ## A real search on scikit-learn's digits, about two minutes on two cores.
	$(BIN)/rtune search digits

test: $(READY) lint  ## Everything that must hold.
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

test-long: $(READY)  ## What `make test` leaves out: clusters from `ray up` to `ray down`, faults, replicates, oracles; half an hour.
	$(BIN)/python -m pytest -m long

chaos: $(READY)  ## Two searches under SIGKILL for eight minutes; prints what survived.
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
	  || { echo "rtune needs Python 3.11 or newer; name one with make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up .venv (about 7 GB with torch, a few minutes, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

constraints: $(READY)  ## Pin what is installed now.
	$(BIN)/python -m pip freeze --all --exclude-editable | grep -v "^pip==" > constraints.txt

clean:
	rm -rf .venv
