# One virtual environment, .venv, serves every target. Stamp files keep a second call from installing again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

.PHONY: help demo test lint format bench gpu clean

help:
	@echo "make demo    install into $(VENV) and score the Landsat data that ships with fastprobe"
	@echo "make test    install with the test tools; ruff, mypy and pytest"
	@echo "make lint    ruff and mypy only"
	@echo "make format  let ruff rewrite the files"
	@echo "make bench   install with the peers and run the benchmarks (minutes)"
	@echo "make gpu     GPU tests, parity and speed on a CUDA device, with any Python that has CuPy; installs nothing"
	@echo "make clean   remove $(VENV), build products and caches"

demo: $(VENV)/.installed
	@$(BIN)/fastprobe demo

# A pytest process per core, with one BLAS thread each: two threads in each would fight for the cores.
test: export OPENBLAS_NUM_THREADS = 1
test: lint
	@$(BIN)/python -m pytest -n auto --maxprocesses 8

lint: $(VENV)/.installed-test build/typing/fastprobe/kernels
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.installed-test
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.installed-bench
	@$(BIN)/python -m benchmarks

# A bare GPU machine may reach no package index: what is there is used, $(VENV) if it has CuPy, else $(PYTHON).
# Options of benchmarks.gpu: make gpu GPU_OPTIONS="--quick --out results".
gpu:
	@python="$(PYTHON)"; \
	has_cupy='import sys; from importlib.util import find_spec; sys.exit(not find_spec("cupy"))'; \
	if [ -x $(BIN)/python ] && $(BIN)/python -c "$$has_cupy"; then python=$(BIN)/python; fi; \
	PYTHONPATH=. "$$python" -m benchmarks.gpu $(GPU_OPTIONS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find fastprobe kernels benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fastprobe needs Python 3.11 or newer, and this is " + sys.version + "; choose another one: make PYTHON=python3.12")'
	@echo "making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# Editable: a changed source file needs no new installation; a changed pyproject.toml does.
$(VENV)/.installed: pyproject.toml $(VENV)/.created
	@echo "installing fastprobe into $(VENV) (about a minute)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.created
	@echo "installing fastprobe and its test tools into $(VENV) (a minute or two)"
	@$(PIP) install --editable '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: pyproject.toml $(VENV)/.created
	@echo "installing fastprobe and its benchmark peers into $(VENV) (a minute or two)"
	@$(PIP) install --editable '.[bench]'
	@touch $(VENV)/.installed $@

# mypy cannot be told that the folder kernels/ is the package fastprobe.kernels; this link says it.
build/typing/fastprobe/kernels:
	@mkdir -p $(@D)
	@ln -sfn ../../../kernels $@
