# charlm: `make demo` shows it at work, `make test` proves it; both set up all that they need in .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := .demo
# Of the long form of the tests: one more than there are cores, as many of them wait for signals and for the disk.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Benchmarks must not run on the processor type or cache size that some environments pin for OpenBLAS.
UNPINNED := env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all gputest test-gpu lint check audit bench experiments corpora readme wheel constraints clean

# The very releases of constraints.txt, or, where these are not to be had, others within the bounds of pyproject.toml.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
define install
$(PIP) --constraint constraints.txt --editable '$(1)' || \
  { echo 'not all releases of constraints.txt are to be had here: taking others within bounds' >&2; \
    $(PIP) --editable '$(1)'; }
touch $@
endef

help:  ## show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(call install,.)

$(VENV)/.dev: $(VENV)/.installed
	$(call install,.[dev])

# Half a gigabyte, and no GPU: CuPy and NVIDIA's compiler, with which the tests of the GPU's backend run.
$(VENV)/.gputest: $(VENV)/.dev
	$(call install,.[gputest])

$(VENV)/.bench: $(VENV)/.dev
	$(call install,.[bench])

install: $(VENV)/.installed  ## make .venv with charlm in it

demo: $(VENV)/.installed  ## train a character model, a word model and a tagger; generate, score the two salads, tag
	mkdir -p $(DEMO)
	$(BIN)/charlm train corpora/dinosaurs.txt -o $(DEMO)/dinosaurs.safetensors --force --seed 1 \
	  --epochs 30 --batch-size 16 --lr 0.004 --dropout 0.3
	$(BIN)/charlm train corpora/kitchen.txt -o $(DEMO)/kitchen.safetensors --force --seed 1 \
	  --level word --embedding-size 64 --num-layers 1 --epochs 4 --batch-size 16 --lr 0.005
	$(BIN)/charlm generate $(DEMO)/dinosaurs.safetensors -n 10 -t 0.8 --seed 1
	$(BIN)/charlm generate $(DEMO)/kitchen.safetensors -n 5 --seed 1
	printf 'the apple and pear salad\nthe apple and pair salad\n' | $(BIN)/charlm score $(DEMO)/kitchen.safetensors
	$(BIN)/charlm train corpora/persons.tsv -o $(DEMO)/persons.safetensors --force --seed 1 --task tag --min-count 2 \
	  --embedding-size 32 --hidden-size 32 --num-layers 1 --batch-size 8 --seq-length 32 --lr 0.01 --epochs 5
	echo 'Will the cook mark the chart of Rose Baker ?' | $(BIN)/charlm predict $(DEMO)/persons.safetensors

test: $(VENV)/.dev  ## run the tests in their short form: four minutes of processor time
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -q

test-all: $(VENV)/.dev  ## run the slow tests too, and all in their long form: kills, hostile files, fuzzers, load
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --all -n $(WORKERS) -q --durations=20

gputest: $(VENV)/.gputest  ## add what the tests of the GPU's backend need; they are skipped otherwise

test-gpu: $(VENV)/.dev  ## run the checks that need a GPU; a CuPy for it has to be installed in .venv
	$(BIN)/python -m pytest -q -m gpu -rs tests/cuda
	$(BIN)/python -m pytest -q --gpu tests/backends tests/cuda tests/test_selfcheck.py

lint: $(VENV)/.dev  ## look for faults without running anything: ruff, mypy, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check charlm
	$(BIN)/mypy
	$(MAKE) audit

check: lint test  ## what must be green before a commit: lint, types, tests

audit: $(VENV)/.dev  ## look for known vulnerabilities in what charlm needs, where the network allows
	$(BIN)/python -m tests.audit

bench: $(VENV)/.bench  ## measure the speed beside PyTorch's
	$(UNPINNED) $(BIN)/python -m tests.benchmarks.speed

experiments: $(VENV)/.dev  ## measure what models learn: the kitchen, the embedded Reber grammar, every task
	$(UNPINNED) $(BIN)/python -m tests.benchmarks.kitchen
	$(UNPINNED) $(BIN)/python -m tests.benchmarks.reber
	$(UNPINNED) $(BIN)/python -m tests.benchmarks.tasks

corpora: $(VENV)/.installed  ## write our corpora but dinosaurs.txt anew, bit for bit, from their grammars
	$(BIN)/python corpora/kitchen_grammar.py
	$(BIN)/python corpora/task_corpora.py

readme: $(VENV)/.dev  ## bring the README's --help blocks and the output of its examples up to date
	$(BIN)/python -m tests.readme --examples

wheel:  ## build the wheel into dist/; the same bytes from the same commit
	rm -rf build && mkdir -p build/source
	umask 022 && git archive HEAD | tar -x --no-same-permissions -C build/source && cd build/source && \
	  SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir ../../dist .
	rm -rf build

constraints: $(VENV)/.dev  ## write constraints.txt anew, from what is installed
	$(BIN)/python -m tests.constraints

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(DEMO) .bench build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
