# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
# Every target sets up what it needs in $(VENV), once; see `make help`.

VENV ?= .venv
PYTHON ?=
TORCH ?= torch==2.13.0
PROFILE ?= demo
ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PREFIX := $(abspath $(VENV))
BIN := $(PREFIX)/bin
STAMPS := $(PREFIX)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -q
SIMULATORS := $(PREFIX)/simulators/bin/python -m pip --disable-pip-version-check --no-input install -q
DIWA_ROS := src/diwa_ros
PYTHON_VERSION := 'import sys; print(*sys.version_info[:2])'
MESSAGES := $(shell find src/diwa_msgs -type f -not -path '*/build/*')
STANDINS := $(shell find tests/messages -type f)
SCRIPTS := $(wildcard $(DIWA_ROS)/scripts/*)

# The environment stands alone. A ROS installation that is set up in this terminal, or another
# environment with ROS wheels, would mix its libraries into it.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV CMAKE_PREFIX_PATH COLCON_PREFIX_PATH RMW_IMPLEMENTATION
ifdef ROS_DISTRO
$(info ROS 2 $(ROS_DISTRO) is set up in this terminal; it is left out here. To use it, see README.md.)
unexport ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION LD_LIBRARY_PATH
endif
ifdef _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
endif
export AMENT_PREFIX_PATH := $(PREFIX)

ifneq ($(PYTHON),)
ifneq ($(wildcard $(STAMPS)/venv),)
ifneq ($(shell $(PYTHON) -c $(PYTHON_VERSION)),$(shell $(BIN)/python -c $(PYTHON_VERSION)))
$(error $(VENV) is of another Python than $(PYTHON): add VENV=.venv-other, or remove $(VENV))
endif
endif
endif

.PHONY: help setup lint type test coverage demo bench results-lowdim results-vision results-ablations clean

help: ## show this text
	@printf 'make TARGET [NAME=value ...]\n\n'
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18
	@printf '\n  ARGS="-k safety"       handed to pytest, to the demo or to the benchmarks\n'
	@printf '  PROFILE=smoke          of the demo: tiny settings, a few minutes, no claim\n'
	@printf '  PYTHON=python3.12      what to make the environment of (3.10, 3.11 or 3.12)\n'
	@printf '  TORCH=%s   what to install as PyTorch; a smaller one without CUDA:\n' '$(TORCH)'
	@printf '                         TORCH="torch --index-url https://download.pytorch.org/whl/cpu"\n'
	@printf '  VENV=.venv-other       where the environment lies (now: %s)\n' '$(VENV)'

setup: $(STAMPS)/ready ## make the environment only

lint: $(STAMPS)/dev ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMPS)/dev $(STAMPS)/ready ## check types
	$(BIN)/mypy

test: $(STAMPS)/dev $(STAMPS)/ready $(STAMPS)/simulators $(STAMPS)/standins ## run the tests
	$(BIN)/python -m pytest $(ARGS)

coverage: $(STAMPS)/dev $(STAMPS)/ready $(STAMPS)/simulators $(STAMPS)/standins ## share of the core's lines that tests run
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered -m "not system" $(ARGS)

demo: $(STAMPS)/ready ## record, train, adapt, evaluate and deploy in simulation; writes a report
	@$(BIN)/python -m diwa_ros.demo --profile $(PROFILE) $(ARGS)

bench: $(STAMPS)/dev $(STAMPS)/ready ## measure speed; figures go to runs/bench.json
	@for file in benchmarks/bench_*.py; do $(BIN)/python $$file $(ARGS); done

results-lowdim: $(STAMPS)/ready ## all skills in simulation, low-dimensional: hours; docs/results.md
	@$(BIN)/python benchmarks/results_skills.py lowdim $(ARGS)

results-vision: $(STAMPS)/ready ## three skills in simulation, from images: hours; docs/results.md
	@$(BIN)/python benchmarks/results_skills.py vision $(ARGS)

results-ablations: $(STAMPS)/ready ## the method without each of its parts: hours; docs/results.md
	@$(BIN)/python benchmarks/results_ablations.py $(ARGS)

clean: ## remove caches and build output; keeps the environment and runs/
	rm -rf build install log .pytest_cache .mypy_cache .ruff_cache .hypothesis play_log
	rm -rf $(DIWA_ROS)/build $(DIWA_ROS)/*.egg-info src/diwa_msgs/build
	find src tests benchmarks launch -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up -----------------------------------------------------------------------------------
# One stamp per step: a step runs again when its inputs change or when it was broken off.

step = @printf '\n==> %s\n' '$(1)'

$(STAMPS)/venv:
	@python=$$(tools/find_python.sh "$(PYTHON)") && printf '\n==> environment in %s, of %s\n' \
	  '$(VENV)' "$$python" && "$$python" -m venv '$(PREFIX)'
	@touch '$(PREFIX)/COLCON_IGNORE'
	@$(PIP) --upgrade pip setuptools wheel numpy
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: $(STAMPS)/venv requirements/dev.txt requirements/launch.txt $(STAMPS)/torch
	$(call step,tools for development)
	@$(PIP) -c $(STAMPS)/torch -r requirements/dev.txt
	@if [ "$$(uname -sm)" = 'Linux x86_64' ]; then $(PIP) --no-deps -r requirements/launch.txt; fi
	@touch $@

$(STAMPS)/torch: $(STAMPS)/venv
	$(call step,PyTorch: $(TORCH))
	@$(PIP) $(TORCH)
	@$(BIN)/python -m pip freeze | grep '^torch==' > $@

$(STAMPS)/package: $(STAMPS)/torch $(DIWA_ROS)/setup.py $(DIWA_ROS)/setup.cfg
	$(call step,this package and what it needs)
	@PYTHONWARNINGS=ignore $(PIP) -c $(STAMPS)/torch --no-build-isolation --editable $(DIWA_ROS)
	@touch $@

# For tests of the real arm's side. Without them those tests are skipped, and say so.
$(STAMPS)/simulators: requirements/simulators.txt requirements/simulators_alone.txt | $(STAMPS)/venv
	$(call step,simulated Franka arms for the tests)
	@$(BIN)/python -m venv $(PREFIX)/simulators
	@if $(SIMULATORS) -r requirements/simulators.txt && \
	    $(SIMULATORS) --no-deps -r requirements/simulators_alone.txt; then touch $@; \
	else printf 'not to be had here: the tests that need them will be skipped\n'; fi

# Likewise: franka_msgs is on no package index.
$(STAMPS)/standins: $(STAMPS)/ros $(STANDINS) tests/system/franka_standin.py
	$(call step,a stand-in for franka_msgs for the tests: compiled in about half a minute)
	@if $(BIN)/python tests/system/franka_standin.py; then touch $@; \
	else printf 'not to be compiled here: the tests that need it will be skipped\n'; fi

$(STAMPS)/machine: tools/check_machine.sh | $(STAMPS)/venv
	@tools/check_machine.sh
	@touch $@

$(STAMPS)/ros: $(STAMPS)/machine requirements/ros.txt
	$(call step,ROS 2 client library)
	@$(PIP) -r requirements/ros.txt
	@touch $@

$(STAMPS)/messages: $(STAMPS)/ros $(MESSAGES)
	$(call step,diwa_msgs: compiled in about half a minute)
	@$(PIP) --no-build-isolation --no-deps --force-reinstall ./src/diwa_msgs
	@touch $@

$(STAMPS)/bullet: $(STAMPS)/machine | $(STAMPS)/package
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then \
	  printf '\n==> %s\n' 'PyBullet: no wheel for Python 3.12; compiled in about five minutes'; \
	else printf '\n==> PyBullet\n'; fi
	@$(PIP) --no-build-isolation pybullet==3.2.7
	@touch $@

# What an editable installation leaves out: the places where ROS looks.
$(STAMPS)/links: $(STAMPS)/package $(SCRIPTS)
	@mkdir -p $(PREFIX)/share/ament_index/resource_index/packages $(PREFIX)/share/diwa_ros
	@touch $(PREFIX)/share/ament_index/resource_index/packages/diwa_ros
	@ln -sfn $(addprefix $(CURDIR)/$(DIWA_ROS)/,launch config package.xml) $(PREFIX)/share/diwa_ros/
	@rm -rf $(PREFIX)/lib/diwa_ros && mkdir -p $(PREFIX)/lib/diwa_ros
	@ln -s $(addprefix $(CURDIR)/,$(SCRIPTS)) $(PREFIX)/lib/diwa_ros/
	@touch $@

$(STAMPS)/ready: $(STAMPS)/machine $(STAMPS)/bullet $(STAMPS)/messages $(STAMPS)/links
	@touch $@
