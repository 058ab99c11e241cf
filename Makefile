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
.PHONY: help install demo test test-all gputest exchange mpi test-gpu lint check audit bench experiments corpora readme pictures wheel constraints clean

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

# onnxruntime and PyTorch, with which the tests run exported models.
$(VENV)/.exchange: $(VENV)/.dev
	$(call with,exchange)

# mpi4py and MPICH, with which the tests start several processes: 15 MB.
$(VENV)/.mpi: $(VENV)/.dev
	$(call with,mpi)

install: $(VENV)/.installed  ## create .venv with charlm in it

# Print a command as a person would type it, and run it.
say = @echo '$$ charlm $(1)' && $(BIN)/charlm $(1)

demo: $(VENV)/.installed  ## train three models, use each, and say what to type next
	@mkdir -p $(DEMO)
	@printf '\n== 1 of 3: new names, after 1,500 names of dinosaurs\n'
	$(call say,train corpora/dinosaurs.txt -o $(DEMO)/dinosaurs --force --seed 1 --progress bar)
	$(call say,generate $(DEMO)/dinosaurs -n 10 --unique --not-in corpora/dinosaurs.txt --best-of 20 --seed 1)
	@printf '\n== 2 of 3: pear or pair? A recogniser hears no difference. The likelier line has the larger log10p\n'
	$(call say,train corpora/kitchen.txt -o $(DEMO)/kitchen --force --seed 1 --level word --epochs 1 --progress bar)
	@printf 'the apple and pear salad\nthe apple and pair salad\n' > $(DEMO)/salads.txt
	$(call say,score $(DEMO)/kitchen $(DEMO)/salads.txt)
	@printf '\n== 3 of 3: names of persons in a sentence, marked by 1\n'
	$(call say,train corpora/persons.tsv -o $(DEMO)/persons --force --seed 1 --task tag --progress bar)
	@echo '$$ charlm predict $(DEMO)/persons $(DEMO)/cook.txt'
	@echo 'Will the cook mark the chart of Rose Baker ?' | tee $(DEMO)/cook.txt
	@$(BIN)/charlm predict $(DEMO)/persons $(DEMO)/cook.txt
	@printf '\nNow type:\n  . $(BIN)/activate\n'
	@printf '  charlm next $(DEMO)/dinosaurs -p Tri         what may come after Tri\n'
	@printf '  charlm inspect $(DEMO)/dinosaurs --plot      how it was learned\n'
	@printf '  charlm train YOUR-LIST.txt -o mine           a list of your own, one name a line\n'
	@printf '  charlm generate mine -n 10 --unique --not-in YOUR-LIST.txt\n'
	@printf '  charlm guide                                 all else\n'

test: $(VENV)/.dev  ## run the tests in their short form, four to six minutes of processor time
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -q

test-all: $(VENV)/.dev  ## run all tests in their long form: kills, hostile files, fuzzers, load
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --all -n $(WORKERS) --dist worksteal -q --durations=20

gputest: $(VENV)/.gputest  ## install CuPy for the tests of the GPU backend, which are skipped without it

exchange: $(VENV)/.exchange  ## install ONNX and PyTorch for the tests of exported models

mpi: $(VENV)/.mpi  ## install MPI for the tests of several processes

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
	$(BIN)/python corpora/log_lines.py

readme: $(VENV)/.dev  ## update help texts, the manual page, and the output of examples in README and guide
	$(BIN)/python -m tests.readme --examples

pictures: $(VENV)/.dev  ## draw the pictures of README.md and the guide again, each from a run
	$(BIN)/python -m tests.pictures

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
