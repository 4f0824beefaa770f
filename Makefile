# Payrouter. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run cluster services test model-check check static format lock wheel bench bench-all flood backlog summary-bench
.PHONY: bench-cluster bench-cluster-all flood-cluster summary-cluster kill-cluster scaling states clean
.PHONY: simulate faults faults-everysec overload bad-input screenshots docs

help: ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}'

$(BIN)/payrouter: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	@touch $@

$(VENV)/.dev: $(BIN)/payrouter requirements-dev.lock
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

run: $(BIN)/payrouter ## install and start the demo: router on 9999, simulated processors on 8001 and 8002
	@exec $(BIN)/payrouter demo

cluster: $(VENV)/.dev services ## a whole cluster on this machine: nginx on 9999, two APIs, a dispatcher, Redis, PostgreSQL
	@exec $(BIN)/python -m payrouter_lab.cluster $(CLUSTER_ARGS)

services: $(VENV)/.dev ## find Redis, PostgreSQL and nginx, or install them (Debian, as root)
	@$(BIN)/python -m payrouter_lab.cluster.binaries

WORKERS ?= 2

test: $(VENV)/.dev ## run the whole test suite, with real servers (installed if missing: Debian, as root): WORKERS=2
	@$(BIN)/python -m payrouter_lab.cluster.binaries docker-compose chromium promtool
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

EXAMPLES ?= 5000

model-check: $(VENV)/.dev services ## many histories of every engine beside the oracle, new ones each time: EXAMPLES=5000
	@HYPOTHESIS_PROFILE=explore HYPOTHESIS_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/contracts/test_model.py --timeout 0 $(PYTEST_ARGS)

static: $(VENV)/.dev ## format, lint, strict types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: static test ## static checks, then the whole test suite

format: $(VENV)/.dev ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/.dev ## refresh the locked dependencies from pyproject.toml
	$(BIN)/pip install --quiet pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -c requirements.lock --extra bench --extra dev --extra docs --extra tracing -o requirements-dev.lock pyproject.toml

wheel: $(VENV)/.dev ## build the wheel into dist/
	$(BIN)/pip wheel --quiet --no-deps -w dist .
	@ls dist/*.whl

SCHEDULE ?= bench/schedules/published.toml
RUNS ?= 3
BENCH := $(BIN)/python -m payrouter_lab.bench

bench: $(VENV)/.dev ## score the router beside the reference: SCHEDULE=bench/schedules/published.toml RUNS=3
	@$(BENCH) schedule $(SCHEDULE) --runs $(RUNS) $(BENCH_ARGS)

bench-all: $(VENV)/.dev ## the published schedule, the long, the slow and the random one
	@for name in published long slow-not-down random; do \
		$(BENCH) schedule bench/schedules/$$name.toml --runs $(RUNS) $(BENCH_ARGS) || failed=1; \
	done; exit $${failed:-0}

bench-cluster: $(VENV)/.dev services ## the same for a cluster under the limits of deploy/docker-compose.yml
	@$(BENCH) schedule $(SCHEDULE) --cluster --runs $(RUNS) $(BENCH_ARGS)

bench-cluster-all: $(VENV)/.dev services ## every schedule for a cluster
	@for name in published long slow-not-down random; do \
		$(BENCH) schedule bench/schedules/$$name.toml --cluster --runs $(RUNS) $(BENCH_ARGS) || failed=1; \
	done; exit $${failed:-0}

flood-cluster: $(VENV)/.dev services ## 30 000 payments as fast as a cluster accepts them
	@$(BENCH) flood --cluster --runs $(RUNS) $(BENCH_ARGS)

kill-cluster: $(VENV)/.dev services ## the published schedule once per process of a cluster, that process killed in the middle
	@for name in nginx api1 api2 dispatcher1 redis postgres; do \
		$(BENCH) schedule $(SCHEDULE) --cluster --no-reference --kill-at 25 --kill-service $$name $(BENCH_ARGS) || failed=1; \
	done; exit $${failed:-0}

flood: $(VENV)/.dev ## 30 000 payments as fast as they are accepted
	@$(BENCH) flood --runs $(RUNS) $(BENCH_ARGS)

backlog: $(VENV)/.dev ## a million payments waiting, a kill -9, a drain
	@$(BENCH) backlog $(BENCH_ARGS)

overload: $(VENV)/.dev services ## ten times what can be settled for a minute: one process, then a cluster
	@$(BENCH) overload $(BENCH_ARGS); one=$$?; $(BENCH) overload --cluster $(BENCH_ARGS) && exit $$one

BAD_INPUT := $(BIN)/python -m payrouter_lab.badinput

bad-input: $(VENV)/.dev services ## 100 000 bad requests and schemathesis: at one process, then at a cluster
	@$(BAD_INPUT) $(BAD_INPUT_ARGS); one=$$?; $(BAD_INPUT) --cluster $(BAD_INPUT_ARGS) && exit $$one

summary-bench: $(VENV)/.dev ## the summary's latency over 5 000 000 payments against 50 000
	@$(BENCH) summary $(BENCH_ARGS)

.PHONY: operator-bench
operator-bench: $(VENV)/.dev services ## what an open dashboard, scrapes and logs cost; finding one payment among 10 000 000
	@$(BENCH) operator $(BENCH_ARGS)

scaling: $(VENV)/.dev services ## what a payment costs each service with more dispatchers and APIs, with plots into docs/
	@$(BENCH) scaling --plots docs $(BENCH_ARGS)

summary-cluster: $(VENV)/.dev services ## the same over 10 000 000 payments in PostgreSQL
	@$(BENCH) summary --engine postgres --large 10000000 $(BENCH_ARGS)

simulate: $(VENV)/.dev ## many lives of an installation in made-up time, faults by seed, on all cores: RUNS=20000 SIMULATE_ARGS='--first 1000'
	@$(BIN)/python -m payrouter_lab.simulation run $(if $(filter file,$(origin RUNS)),,--runs $(RUNS)) $(SIMULATE_ARGS)

faults: $(VENV)/.dev services ## kill, pause, cut and fill a cluster under load for 10 minutes: FAULTS_ARGS='--seed 1 --minutes 30'
	@$(BIN)/python -m payrouter_lab.faults $(FAULTS_ARGS)

faults-everysec: $(VENV)/.dev services ## measure what a killed Redis loses with appendfsync everysec and a slow disk
	@$(BIN)/python -m payrouter_lab.faults --appendfsync everysec --slow-fsync 1.5 --only 'kill -9 redis' --minutes 3 --lenient-times $(FAULTS_ARGS)

screenshots: $(VENV)/.dev ## pictures of the operator's page of a router under load, into docs/images (installs Chromium: Debian, as root)
	@$(BIN)/python -m payrouter_lab.cluster.binaries chromium
	@$(BIN)/python -m payrouter_lab.screenshots docs/images

states: $(BIN)/payrouter ## draw docs/states.md and docs/states.svg from the transition table
	$(BIN)/python docs/draw_states.py

docs: $(VENV)/.dev ## build the documentation into site/: open site/index.html, or serve it for the search to work
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean: ## remove the virtual environment and what was built
	rm -rf $(VENV) dist build site .pytest_cache .mypy_cache .ruff_cache
