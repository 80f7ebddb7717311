# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3.11
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo test lint format clean release lock

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt constraints-gradio.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q -c constraints.txt -e ".[model,metrics,leaderboard,dev]"
	$(BIN)/pip install -q --no-deps -r constraints-gradio.txt
	touch $@

demo: install
	$(BIN)/lorweb-bench demo -o $(DEMO)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install
	$(BIN)/pytest -n 2 --dist loadfile

release:
	PYTHON=$(PYTHON) .ci/check-release dist

# The whole environment with hashes, for Linux on x86-64 with Python 3.11; `pip install uv` first.
lock:
	uv pip compile pyproject.toml $(addprefix --extra ,model training metrics judge leaderboard ray) \
	  -c constraints.txt --generate-hashes --python-version 3.11 \
	  --python-platform x86_64-unknown-linux-gnu --no-annotate --no-header -o requirements.lock

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
