# `make demo` shows charlm at work, `make test` runs the tests. Both create what they need in .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := .demo
# Processes of the long form of the tests: one more than cores, because many tests wait for signals or the disk.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Benchmarks must not run with the processor type or cache size that some environments set for OpenBLAS.
UNPINNED := env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all gputest test-gpu lint check audit bench experiments corpora readme wheel constraints clean

# What an installation depends on. The C sources are compiled by each, but they change nothing about its packages.
PACKAGES := pyproject.toml constraints.txt
CORE     := $(wildcard charlm/backends/compiled/*.[ch]) charlm/backends/compiled/build.py

# The releases of constraints.txt. If one is not available, others within the bounds of pyproject.toml.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
define install
$(PIP) --constraint constraints.txt $(1) || \
  { echo 'not all releases of constraints.txt are available: using others within the bounds of pyproject.toml' >&2; \
    $(PIP) $(1); }
touch $@
endef
# charlm is installed by then: pip adds the packages of an extra alone, and does not compile the core again. Python
# compiles the modules that are imported: a tenth of those that pip would compile, which takes as long as to unpack them.
with = $(call install,--no-compile 'charlm-rnn[$(1)]')

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: $(PACKAGES) $(CORE)
	$(PYTHON) -m venv $(VENV)
	$(call install,--editable '.')
	cp -R charlm/cli/share $(VENV)/  # pip leaves them out of an editable installation

$(VENV)/.dev: $(PACKAGES) | $(VENV)/.installed
	$(call with,dev)

# CuPy and NVIDIA's compiler for the tests of the GPU backend: half a gigabyte. They need no GPU.
$(VENV)/.gputest: $(VENV)/.dev
	$(call with,gputest)

$(VENV)/.bench: $(VENV)/.dev
	$(call with,bench)

install: $(VENV)/.installed  ## create .venv with charlm in it

demo: $(VENV)/.installed  ## train a character model, a word model and a tagger, and use each
	mkdir -p $(DEMO)
	$(BIN)/charlm train corpora/dinosaurs.txt -o $(DEMO)/dinosaurs.safetensors --force --seed 1
	$(BIN)/charlm train corpora/kitchen.txt -o $(DEMO)/kitchen.safetensors --force --seed 1 --level word --epochs 1
	$(BIN)/charlm generate $(DEMO)/dinosaurs.safetensors -n 10 -t 0.8 --seed 1
	$(BIN)/charlm generate $(DEMO)/kitchen.safetensors -n 5 --seed 1
	printf 'the apple and pear salad\nthe apple and pair salad\n' | $(BIN)/charlm score $(DEMO)/kitchen.safetensors
	$(BIN)/charlm train corpora/persons.tsv -o $(DEMO)/persons.safetensors --force --seed 1 --task tag
	echo 'Will the cook mark the chart of Rose Baker ?' | $(BIN)/charlm predict $(DEMO)/persons.safetensors

test: $(VENV)/.dev  ## run the tests in their short form, four minutes of processor time
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -q

test-all: $(VENV)/.dev  ## run all tests in their long form: kills, hostile files, fuzzers, load
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --all -n $(WORKERS) --dist worksteal -q --durations=20

gputest: $(VENV)/.gputest  ## install CuPy for the tests of the GPU backend, which are skipped without it

test-gpu: $(VENV)/.dev  ## run the checks that need a GPU, and a CuPy for it in .venv
	$(BIN)/python -m pytest -q -m gpu -rs tests/cuda
	$(BIN)/python -m pytest -q --gpu tests/backends tests/cuda tests/test_selfcheck.py

lint: $(VENV)/.dev  ## run ruff and mypy, and look for known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check charlm
	$(BIN)/mypy
	$(MAKE) audit

check: lint test  ## run everything that must pass before a commit: lint and test

audit: $(VENV)/.dev  ## look for known vulnerabilities in the dependencies, if there is a network
	$(BIN)/python -m tests.audit

bench: $(VENV)/.bench  ## measure the speed of charlm and of PyTorch
	$(UNPINNED) $(BIN)/python -m tests.benchmarks.speed

experiments: $(VENV)/.dev  ## measure what models learn: the kitchen corpus, the embedded Reber grammar, every task
	$(UNPINNED) $(BIN)/python -m tests.benchmarks.kitchen
	$(UNPINNED) $(BIN)/python -m tests.benchmarks.reber
	$(UNPINNED) $(BIN)/python -m tests.benchmarks.tasks

corpora: $(VENV)/.installed  ## write the corpora, except dinosaurs.txt, again from their grammars
	$(BIN)/python corpora/kitchen_grammar.py
	$(BIN)/python corpora/kitchen_nbest.py
	$(BIN)/python corpora/task_corpora.py

readme: $(VENV)/.dev  ## update the help texts and the output of examples in README.md, and the manual page
	$(BIN)/python -m tests.readme --examples

wheel:  ## build the wheel in dist/; the same commit gives the same bytes
	rm -rf build && mkdir -p build/source
	umask 022 && git archive HEAD | tar -x --no-same-permissions -C build/source && cd build/source && \
	  SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir ../../dist .
	rm -rf build

constraints: $(VENV)/.dev  ## write constraints.txt from the installed releases
	$(BIN)/python -m tests.constraints

clean:  ## remove what the other targets have created
	rm -rf $(VENV) $(DEMO) .bench build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f charlm/backends/compiled/core_*.so charlm/backends/compiled/core_*.sha256
