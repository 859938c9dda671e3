# Needs git, make, Python 3.11 or newer and its venv module, nothing else (a C
# compiler is used if there is one):
# everything is installed into .venv, at the versions and with the hashes in
# requirements.txt and requirements-dev.txt. Tests also start PostgreSQL, Redis,
# nginx, Prometheus and Chromium, which come from apt where they are missing
# (tests/servers/install).

PYTHON ?= python3

VENV := .venv
BIN  := $(VENV)/bin

# Fail on the first error, also in the middle of a pipe.
SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c

# One thing at a time, also under `make -j`: two pip runs in one environment
# damage each other, and the closing line of pytest must come last.
.NOTPARALLEL:

# What Python compiled is kept, whatever the environment says of it: tests start
# hundreds of processes, and each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

# A half-written target must not count as made.
.DELETE_ON_ERROR:

.DEFAULT_GOAL := help

# --require-hashes and --no-deps: install what the lock file lists, no more.
# --only-binary: a source archive would be built with tools that are not locked
# (and with a compiler that may not be there).
# --retries covers refused connections; `retry` also covers a download that
# breaks off half-way, which pip gives up on.
PIP         := $(BIN)/python -m pip --disable-pip-version-check --no-input
PIP_INSTALL := $(PIP) install --quiet --retries 10 --timeout 60
PIP_LOCKED  := $(PIP_INSTALL) --require-hashes --no-deps --only-binary :all:
retry        = $(1) || { echo "Trying once more ..."; sleep 3; $(1); }

# Servers in tests listen on free ports, so several workers can run at once;
# tests/workers.py says what must not. Tests of whole servers wait about as long
# as they compute, so with those there is a worker more than cores; two more,
# and what is measured in them is the crowd.
PYTEST := $(BIN)/python -m pytest -n 2
CROWD  := $(BIN)/python -m pytest -n $$(($$(nproc) + 1))

##@ Use
.PHONY: help
help: ## Show this help
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

# exec: make waits for the demo itself, so Ctrl-C and SIGTERM reach it directly
# and make does not return before it has stopped.
.PHONY: demo
demo: setup ## Run the demo until Ctrl-C, or for SECONDS=n
	@exec $(BIN)/adserver demo $(if $(SECONDS),--seconds $(SECONDS))

##@ Develop
.PHONY: test
test: lint types ## Run everything: lint, types, all tests
	@$(CROWD)

.PHONY: check
check: lint types ## Run the fast part: lint, types, tests not marked slow
	@$(PYTEST) -m "not slow" --hypothesis-profile quick

# The properties of targeting and of the engine, each with as many examples as
# the profile says (tests/conftest.py), and a hundred thousand operations on the
# books. Takes some twenty minutes.
.PHONY: long
long: setup-dev ## Ask the engine's properties 10 000 times each, the books 100 000
	@$(PYTEST) --hypothesis-profile long tests/engine tests/domain tests/properties/test_money_law.py

.PHONY: loadtest
loadtest: setup-dev ## Load a server and check the laws (SECONDS=30)
	@exec $(BIN)/python loadtests/run.py --seconds $(or $(SECONDS),30)

.PHONY: bench
bench: setup ## Measure the engine and HTTP beside an empty endpoint (QUICK=1: under 2 minutes; REDIS=1: with Redis)
	@exec $(BIN)/adserver bench $(if $(QUICK),--quick) $(if $(REDIS),--redis)

.PHONY: lint
lint: setup-dev ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: setup-dev ## Check types
	@$(BIN)/mypy --strict adserver

.PHONY: format
format: setup-dev ## Format the code and fix what can be fixed safely
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

##@ Set up
# The stamps live inside .venv, so removing it removes them too. Each depends on
# the files it was made from: nothing is installed twice, and a changed lock
# file is noticed.
.PHONY: setup
setup: $(VENV)/.project ## Install what running needs into .venv

.PHONY: setup-dev
setup-dev: $(VENV)/.project $(VENV)/.dev $(VENV)/.servers ## Install what development needs as well

.PHONY: servers
servers: ## Install the servers that tests start, with apt
	@tests/servers/install

# --clear: without the stamp, what is there was left by a set-up that failed
# (for one, Debian without python3-venv leaves an environment without pip).
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": set PYTHON=" if sys.version_info < (3, 11) else 0)'
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.runtime: requirements.txt | $(VENV)/.created
	@echo "Installing what the server needs (about a minute the first time) ..."
	@$(call retry,$(PIP_LOCKED) -r requirements.txt)
	@touch $@

# After the runtime, whose versions it shares.
$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing what development needs ..."
	@$(call retry,$(PIP_LOCKED) -r requirements-dev.txt)
	@touch $@

# Tried once: where it cannot be done it says so, and tests do when they skip.
$(VENV)/.servers: tests/servers/install | $(VENV)/.created
	@tests/servers/install || true
	@touch $@

# Without build isolation, setuptools is the locked one and nothing is
# downloaded here. Where there is a compiler, the kernel is built beside its
# source; without one the index walks in Python.
$(VENV)/.project: pyproject.toml setup.py $(wildcard adserver/_*.[ch] adserver/engine/_*.[ch]) $(VENV)/.runtime
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# pip-tools runs in an environment of its own, so that it is not part of what
# it locks. Versions already locked are kept unless --upgrade is asked for.
# The --no-emit and --no-header options keep the addresses and paths of the
# machine it runs on out of the result.
LOCK_FLAGS ?=
LOCK_HEADER := \# Generated by `make lock`, do not edit. To update: `make lock LOCK_FLAGS=--upgrade`.
.PHONY: lock
lock: ## Regenerate requirements*.txt from requirements*.in
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(PYTHON) -m venv "$$tmp"; \
	"$$tmp/bin/python" -m pip install --quiet --disable-pip-version-check pip-tools==7.6.2; \
	for name in requirements requirements-dev; do \
	  "$$tmp/bin/pip-compile" --quiet $(LOCK_FLAGS) \
	    --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
	    --output-file "$$name.txt" "$$name.in"; \
	  sed -i '1i $(LOCK_HEADER)' "$$name.txt"; \
	done

# Leaves data/ alone: that is not ours to throw away.
.PHONY: clean
clean: ## Remove .venv, caches and build products
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f adserver/engine/_kernel.*.so adserver/_octets.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
