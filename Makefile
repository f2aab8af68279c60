# make sweep   install into .venv, then run or continue the quick grid        (GRID=smoke, ARGS="seeds=3")
# make plan    install, then show what the grid would run; starts nothing
# make test    install with the development tools, then run all tests          (ARGS="tests/plan -k budget")
# make test-geo  install torchgeo into .venv-geo, over .venv, then run the tests that need it
# make three-hosts  a sweep on a cluster of three hosts (namespaces of this machine), one of which is cut off
# make chaos   a real sweep under random kills against an undisturbed one        (KILLS=4)
# make verify  what CI has no time for, some hours; dated logs go to docs/   (parts: verify-anchors, verify-overhead,
#              verify-scale, verify-packing, verify-data-path, verify-feature-cache, verify-foundation, verify-few-shot,
#              verify-few-shot-contrast, verify-few-shot-ablations, verify-proximal-transfer, verify-real-transfer, verify-first-hour, verify-three-hosts, verify-chaos, verify-faults)
# make lint    formatting, lint, types, import layers
# make clean   remove .venv, .venv-geo and caches; sweeps' results stay
#
# Installing is skipped while pyproject.toml and constraints.txt are older than the last installation.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
GRID ?= quick
ARGS ?=
KILLS ?= 4
GEO := .venv-geo
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_GEO := $(GEO)/.installed

TODAY := $(shell date +%F)

.PHONY: help sweep plan test test-geo three-hosts chaos verify lint format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

sweep: $(INSTALLED)
	@echo "== sweep: run or continue the grid '$(GRID)'; interrupt it and run this again whenever you like"
	$(BIN)/hsfm-sweep --grid $(GRID) $(ARGS)

plan: $(INSTALLED)
	$(BIN)/hsfm-sweep plan --grid $(GRID) $(ARGS)

test: $(INSTALLED_DEV)
	@echo "== test: all tests, one thread each"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

test-geo: $(INSTALLED_GEO)
	@echo "== test-geo: models through torchgeo, and parity with it"
	OMP_NUM_THREADS=1 $(GEO)/bin/python -m pytest tests/strategies -k "dofa_parity or copernicus_fm or panopticon" $(ARGS)

three-hosts: $(INSTALLED_DEV)
	@echo "== three-hosts: up, a sweep, a host is cut off and comes back, down; compared with one host"
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.three_hosts --install $(ARGS)

chaos: $(INSTALLED_DEV)
	@echo "== chaos: $(KILLS) kills of a real sweep, compared with an undisturbed one"
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos --kills $(KILLS) $(ARGS)

# Each part has a dated log of its own, so that one can be repeated: make verify-chaos
VERIFY_PARTS := anchors overhead scale packing data-path feature-cache foundation few-shot few-shot-contrast few-shot-ablations proximal-transfer real-transfer first-hour three-hosts chaos faults
VERIFY_anchors    = $(BIN)/hsfm-sweep --grid indian_pines_anchor --out $$(mktemp -d)
VERIFY_overhead   = $(BIN)/python benchmarks/overhead.py
VERIFY_scale      = $(BIN)/python benchmarks/bookkeeping.py --write --check
VERIFY_packing    = $(BIN)/python benchmarks/packing.py --check
VERIFY_data-path  = $(BIN)/python benchmarks/data_path.py --write
VERIFY_feature-cache = $(BIN)/python benchmarks/feature_cache.py --check
VERIFY_foundation = $(BIN)/hsfm-sweep --grid foundation_smoke --out $$(mktemp -d)
VERIFY_few-shot   = $(BIN)/hsfm-sweep --grid few_shot_smoke --out $$(mktemp -d)
VERIFY_few-shot-contrast = $(BIN)/hsfm-sweep --grid few_shot_contrast --out $$(mktemp -d)
VERIFY_few-shot-ablations = $(BIN)/hsfm-sweep --grid few_shot_ablations --out $$(mktemp -d)
VERIFY_proximal-transfer = $(BIN)/hsfm-sweep --grid proximal_transfer --out $$(mktemp -d)
VERIFY_real-transfer = $(BIN)/hsfm-sweep --grid real_transfer --out $$(mktemp -d)
VERIFY_first-hour = $(BIN)/python benchmarks/new_user.py
VERIFY_three-hosts = $(BIN)/python -m tests.three_hosts --install
VERIFY_chaos      = $(BIN)/python -m tests.chaos --kills 20
VERIFY_faults     = $(BIN)/python -m tests.faults --write docs/faults.md

verify: $(VERIFY_PARTS:%=verify-%)

verify-%: $(INSTALLED_DEV)
	@echo "== $@: log in docs/verify-$*-$(TODAY).log"
	@mkdir -p docs
	@{ \
	  echo "make $@, $$(date -u +'%F %T') UTC, commit $$(git rev-parse --short HEAD 2>/dev/null || echo none), $$(nproc) CPUs"; \
	  echo '$$ $(subst $(BIN)/,,$(VERIFY_$*))'; \
	  OMP_NUM_THREADS=1 $(VERIFY_$*); \
	} 2>&1 | tee docs/verify-$*-$(TODAY).log

lint: $(INSTALLED_DEV)
	@echo "== lint: ruff, mypy, import layers"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED_DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	@echo "== clean: $(VENV), $(GEO) and caches; the folder hsfm_sweeps with results is kept"
	rm -rf $(VENV) $(GEO) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A half-made environment is simply made again: `python -m venv` over an existing one repairs it.
$(BIN)/python:
	@for python in python3.11 python3.12 python3.13 python3; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        echo "== install: $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); \
	    fi; \
	done; \
	echo "no Python of version 3.11 or newer found; install python3.11 (and python3.11-venv) and run make again" >&2; \
	exit 1

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "== install: hsfm-sweep and the pinned versions of constraints.txt (some gigabytes on the first time)"
	$(PIP) install --quiet --editable . --constraint constraints.txt
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo "== install: development tools"
	$(PIP) install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@

# torchgeo brings some twenty packages that nothing else needs. They go into an environment of their own, which sees the
# pinned one: torch is not installed twice, and the pinned one stays as it is.
$(INSTALLED_GEO): pyproject.toml constraints.txt | $(INSTALLED_DEV)
	@echo "== install: $(GEO) with torchgeo"
	$(BIN)/python -m venv --clear $(GEO)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	    > "$$($(GEO)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	$(GEO)/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[geo]' --constraint constraints.txt
	@touch $@
