# Everything sets itself up: `make run` and `make test` work on a fresh clone with Python 3.11+ and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

# The package as `pip install` makes it: its hot path compiled, where there is a C compiler (setup.py says more).
INSTALLED := build/installed
SOURCES   := setup.py setup.cfg pyproject.toml $(shell find wireproto -name '*.py')
AS_INSTALLED := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(INSTALLED):$(CURDIR)
# What a build changes: the tests of the core, and of what moves its bytes.
PURE_ONLY := access api_keys compression function_keys keyring load_calls load_terms loading node_health optional_codecs \
  rate_windows retry ring scripts scripts_in_sequence sessions signing_keys steps tokens topology totals xaes
BOTH_BUILDS := $(filter-out $(PURE_ONLY:%=tests/core/test_%.py),$(wildcard tests/core/test_*.py)) tests/client \
  tests/live/test_client_certificates.py tests/live/test_clients.py tests/live/test_cuts.py tests/live/test_encryption.py \
  tests/live/test_faults.py tests/live/test_limits.py tests/live/test_model.py tests/live/test_s_client.py tests/live/test_tls.py

# More than there are cores, for many tests wait; those that are left go to whoever has done its own.
PARALLEL := -n 4 --dist worksteal
# Else each server that a test starts compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-pure test-installed check check-tls format bench bench-peers chaos fuzz hostile soak clean

run: $(VENV)/.run
	@exec $(BIN)/python server.py $(ARGS)

test: check test-pure test-installed

test-pure: $(VENV)/.test $(VENV)/.hosts
	EXPECTED_BUILD=pure $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-installed: $(VENV)/.test $(INSTALLED)/.done
	@if [ -e $(INSTALLED)/wireproto/core/dispatch.*.so ]; then \
	  EXPECTED_BUILD=compiled $(AS_INSTALLED) \
	    $(BIN)/python -m pytest --import-mode=append $(PARALLEL) $(BOTH_BUILDS) $(ARGS); \
	else echo "There is no C compiler, so the compiled build is not tested."; fi

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Whether TLS is as Mozilla's "modern" profile wants it. sslyze is in an environment of its own: it is no part of this.
check-tls: $(VENV)/.bench $(VENV)-tls/.done
	@$(BIN)/python -m bench.tls_profile $(VENV)-tls/bin/sslyze

$(VENV)-tls/.done: | $(VENV)/bin/python
	$(BIN)/python -m venv $(VENV)-tls
	$(VENV)-tls/bin/python -m pip install --quiet --disable-pip-version-check 'sslyze >= 6.3, < 7'
	@touch $@

# `make bench ARGS=--quick`; the results go to bench/results.
bench: $(VENV)/.bench $(INSTALLED)/.done
	@$(AS_INSTALLED) exec $(BIN)/python -m bench suite $(ARGS)

# What the benchmark holds us against. It runs without them too.
bench-peers:
	sudo=$$(command -v sudo || true); $$sudo apt-get update -qq && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends haproxy nutcracker redis-server

# Nodes are killed and networks cut, for a quarter of an hour: `make chaos ARGS="--kills 5 kill stop"`. Cuts need root.
chaos: $(VENV)/.bench
	@exec $(BIN)/python -m bench.chaos $(ARGS)

# Hostile bytes, a minute for each target: `make fuzz ARGS="requests --seconds 600"`. What it finds can be tried again
# where there is no Atheris: `make fuzz ARGS="requests --reproduce FILE"`.
fuzz: $(if $(findstring --reproduce,$(ARGS)),$(VENV)/.test,$(VENV)/.fuzz)
	@exec $(BIN)/python -m fuzz $(ARGS)

# Crowds that mean no good: `make hostile ARGS="half-open --half-open 2000"`.
hostile: $(VENV)/.bench
	@exec $(BIN)/python -m bench.hostile $(ARGS)

# 100,000 handshakes, then a quarter of an hour of all kinds of load and faults: `make soak ARGS="--soak-minutes 60"`.
soak: $(VENV)/.bench
	@exec $(BIN)/python -m bench.hostile soak $(ARGS)

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: setup.cfg pyproject.toml | $(VENV)/bin/python
	WIREPROTO_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(VENV)/bin/python
	WIREPROTO_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.run

# The tests that the adapters' hosts have for their own backends, from their source distributions.
$(VENV)/.hosts: tests/adapters/hosts.py | $(VENV)/.test
	$(BIN)/python -m tests.adapters.hosts
	@touch $@

$(VENV)/.bench: setup.cfg pyproject.toml | $(VENV)/bin/python
	WIREPROTO_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@ $(VENV)/.run

$(VENV)/.fuzz: setup.cfg pyproject.toml | $(VENV)/bin/python
	WIREPROTO_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@touch $@ $(VENV)/.run $(VENV)/.test $(VENV)/.bench

$(INSTALLED)/.done: $(SOURCES) | $(VENV)/bin/python
	@rm -rf build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(INSTALLED) .
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-tls .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
