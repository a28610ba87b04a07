# Every target does its own set-up: a machine with Python 3.11+ and make needs nothing else. `make help` says what there is.

VENV     ?= .venv
SCENARIO ?= hard-down
CONFIG   ?= config/barq-fleet.yaml
IMAGE    ?= deploy-watchdog:latest
# Test processes side by side; 0 runs them one after the other in this one
WORKERS  ?= 2
# The first Python on this machine that is new enough; or say which: make test PYTHON=python3.13
PYTHON   ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
              $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

PY := $(VENV)/bin/python
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test coverage check format run bench lock tools image clean

help:  ## show this
	@printf 'usage: make TARGET [NAME=value]\n\n'
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\n  Python: %s; change with PYTHON=/path/to/python3\n' '$(or $(PYTHON),none new enough was found)'

demo: $(VENV)/.runtime  ## play an incident against the real daemon (SCENARIO=hard-down)
	$(PY) -m watchdog demo --scenario $(SCENARIO)

run: $(VENV)/.runtime  ## the daemon on this machine (CONFIG=config/barq-fleet.yaml)
	$(PY) -m watchdog run --config $(CONFIG)

test: $(VENV)/.dev tools  ## the whole test suite (PYTEST_ARGS="-k rollback" WORKERS=0)
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

coverage: $(VENV)/.dev tools  ## the test suite with a coverage report
	$(PY) -m pytest --cov --cov-report=term $(PYTEST_ARGS)

check: $(VENV)/.dev  ## lint, types, import contract, generated files, locks: all that needs no test
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/hadolint Dockerfile
	$(PY) -m deploy.grafana.build --check
	$(PY) -m watchdog.policy_file --schema | cmp - config/policy.schema.json
	@if command -v promtool >/dev/null; then promtool check rules deploy/prometheus/rules.yml; \
	else echo 'promtool is not installed: rules.yml was not checked (make tools installs it where it can)'; fi
	$(PY) requirements/lock.py --check

format: $(VENV)/.dev  ## mend what ruff can mend by itself
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: $(VENV)/.dev  ## measure the figures that the README states
	$(PY) -m benchmarks $(BENCH_ARGS)

lock: $(VENV)/.dev  ## write the hashed locks from pyproject.toml (UPGRADE=1 takes the newest releases)
	$(PY) requirements/lock.py $(if $(UPGRADE),--upgrade)

tools: $(VENV)/.dev  ## install what tests need beyond Python, where this machine allows it (TOOLS=no: don't)
	@[ '$(TOOLS)' = no ] || $(PY) tests/setup_tools.py

image:  ## build the container image with docker, podman or buildah (IMAGE=deploy-watchdog:latest)
	@for tool in docker podman buildah; do command -v $$tool >/dev/null || continue; \
	  exec $$tool build --tag '$(IMAGE)' .; done; \
	echo 'make image needs docker, podman or buildah'; exit 1

clean:  ## remove everything that make and the tools made, the virtual environment too
	rm -rf $(VENV) build dist .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(VENV)/.dev  ## only make the virtual environment

$(VENV)/.runtime: pyproject.toml requirements/runtime.txt requirements/build.txt requirements/install.py
	$(or $(PYTHON),$(error needs Python 3.11 or newer: install one, or say where it is: make PYTHON=/path/to/python3)) requirements/install.py runtime --venv $(VENV)

$(VENV)/.dev: pyproject.toml requirements/dev.txt requirements/install.py
	$(or $(PYTHON),$(error needs Python 3.11 or newer: install one, or say where it is: make PYTHON=/path/to/python3)) requirements/install.py dev --venv $(VENV)
