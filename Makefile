# Everything happens in .venv; only git, make and Python >= 3.11 (with venv) are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := services shared cli simulator
# More than a laptop's cores: most of a test's time is waiting.
TEST_WORKERS ?= 4


.DEFAULT_GOAL := help
.PHONY: help install demo up test test-package test-real test-k3s test-kruise test-jaeger test-prometheus test-clients test-docker real-binaries wheel check format schema lock bench clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "brim needs Python 3.11 or newer: name one with make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

install: $(VENV)/.runtime ## Install brim into .venv, from the lock file

demo: $(VENV)/.runtime ## Play the hybrid and the descheduling scenario on this machine
	$(BIN)/brim demo

up: $(VENV)/.runtime ## Run brim with its embedded server and a simulated fleet, until Ctrl-C
	$(BIN)/brim up

test: $(VENV)/.dev ## The whole test suite
	$(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist worksteal

test-package: $(VENV)/.dev ## Install the wheel into an empty environment and play the demo there (needs a package index)
	$(BIN)/python -m pytest -m package tests/package

wheel: $(VENV)/.runtime ## Build the wheel of the last commit into dist, the same bytes everywhere
	.ci/wheel dist

test-real: $(VENV)/.dev ## The contract and the scenarios against real Kubernetes control planes
	@$(BIN)/python -m tests.real.binaries || true
	$(BIN)/python -m pytest -m real tests/real

test-k3s: $(VENV)/.dev ## The same over K3s in containers (needs KWOK, and a Docker engine or root and dockerd)
	@$(BIN)/python -m tests.real.binaries kwok || true
	BRIM_TEST_MEMBERS=k3s $(BIN)/python -m pytest -m real tests/real

test-kruise: $(VENV)/.dev ## Rollouts with a real Kruise Rollout, where KRUISE_ROLLOUTS and KRUISE_ROLLOUTS_CONFIG name one
	@$(BIN)/python -m tests.real.binaries || true
	unshare --map-root-user --net sh -c 'ip link set lo up && exec "$$@"' apart \
		$(BIN)/python -m pytest -m real tests/real/test_kruise_*.py

test-jaeger: $(VENV)/.dev ## Traces read back from a real Jaeger (needs Go; built once, in some minutes)
	@$(BIN)/python -m tests.jaeger.running || true
	$(BIN)/python -m pytest -m jaeger tests/jaeger

test-prometheus: $(VENV)/.dev ## Alerts and metrics tried with a real Prometheus (needs Go; built once, in some minutes)
	@$(BIN)/python -m tests.prometheus.running || true
	$(BIN)/python -m pytest -m prometheus tests/prometheus

test-clients: $(VENV)/.dev ## What docs/messages.md shows, with NATS' command line (needs Go, once) and Node.js (npm)
	@$(BIN)/python -m tests.clients.programs || true
	$(BIN)/python -m pytest -m clients tests/clients

test-docker: $(VENV)/.dev ## compose.yaml brought up for real (needs a Docker engine, or root and dockerd)
	@$(BIN)/python -m tests.docker.programs || true
	$(BIN)/python -m pytest -m docker tests/docker

real-binaries: $(VENV)/.dev ## Build the control planes' programs into a cache (needs Go; minutes, once)
	$(BIN)/python -m tests.real.binaries

check: $(VENV)/.dev ## Static checks: format, lint, types, imports, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(addprefix -p ,$(PACKAGES))
	$(BIN)/lint-imports
	$(BIN)/python -m shared.contracts.generate --check
	$(BIN)/python -m tests.docs.metrics_page --check

format: $(VENV)/.dev ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: $(VENV)/.dev ## Write the generated schemas and pages anew
	$(BIN)/python -m shared.contracts.generate
	$(BIN)/python -m tests.docs.metrics_page

lock: ## Resolve the dependencies anew (needs uv on the PATH)
	uv pip compile pyproject.toml --group build --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet -o requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet -o requirements-dev.lock

bench: $(VENV)/.runtime ## Measure what the design promises; prints figure, bar and ratio
	$(BIN)/python -m benchmarks

clean: ## Remove the environment, brim's data and what tools left behind
	rm -rf $(VENV) .brim build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
