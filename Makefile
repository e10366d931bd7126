# The two commands a newcomer needs are `make demo` and `make test`; the rest are their steps.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= .chophien
PORT ?= 8000

.PHONY: demo up test lint check browser assets lock migration clean

demo: $(VENV)/.ready assets
	$(BIN)/chophien demo --data-dir $(DATA) --port $(PORT)

up: $(VENV)/.ready assets
	$(BIN)/chophien up --data-dir $(DATA) --port $(PORT)

test: $(VENV)/.dev assets browser check
	$(BIN)/python -m pytest tests

# Style, strict types, import contracts, migrations compared with the tables.
check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Chromium from the system if it is there, else from the package manager, else a clear failure.
browser: $(VENV)/.dev
	$(BIN)/python -m tests.browser.chromium

$(VENV)/.ready: requirements.txt pyproject.toml
	@echo "» Python environment ($(VENV))"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.ready
	@echo "» test and lint tools"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

assets: templates/static/vendor/.ready

templates/static/vendor/.ready: templates/package-lock.json templates/vendor.json $(VENV)/.ready
	@echo "» front-end packages"
	@$(BIN)/python -m templates.vendor
	@touch $@

# Maintainers: after changing pyproject.toml.
lock: $(VENV)/.dev
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev -c requirements.txt --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o requirements-dev.txt

clean:
	rm -rf $(VENV) templates/node_modules templates/static/vendor
