# make run    a gateway to look at, on http://127.0.0.1:8000/ (make run PORT=8123 FEED_RATE=500)
# make check  lint, and the tests that start no servers
# make test   all tests (make test ARGS="-k hub -x"; with DATABASE=postgresql on a PostgreSQL of their own)
# make coverage  all tests, and how much of the code they run
# make soak   the long tests, then the whole thing for five minutes (make soak MINUTES=30)
# make autobahn  the Autobahn TestSuite against the server; says so if it is not to be had (make autobahn ARGS="5.*")
# make lint   what CI checks beside the tests
# make bench  what it costs, beside a plain Channels application
# make lock   writes requirements*.lock from requirements*.txt (make lock ARGS=--upgrade takes what is newest)
# make docs   the documentation as a site, in site/ (make docs ARGS=serve shows it while you write)
# make screenshots  takes the pictures in docs/images of a running gateway; needs chromium and chromedriver
# make client  builds the JavaScript client for the demo page, after a change of clients/javascript
# make format, make clean

HOST ?= 127.0.0.1
PORT ?= 8000
FEED_RATE ?= 20
MINUTES ?= 5

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
INSTALLED_DEV := $(VENV)/installed-dev
SECRET := $(VENV)/secret-key
# Without looking for dependencies: a lock has all of them, and pip asks for newer ones of those with extras.
PIP := $(PY) -m pip install --disable-pip-version-check --require-hashes --no-deps --progress-bar off
# Names what pip is at, so that a minute of it is no silence; its errors come beside. A pipe has the status of its end.
SHOWN := while read -r word what _; do case $$word in \
	Collecting) echo "  fetching $$what" ;; \
	Installing) echo "  unpacking all of it (the longest step) ..." ;; \
	failed) exit 1 ;; \
	esac; done
# The tests' settings, and modules that are compiled once for all processes that tests start.
TESTING := env -u DJANGO_SETTINGS_MODULE -u PYTHONDONTWRITEBYTECODE
# Four tests side by side: most wait for servers and timers more than they compute (ARGS=-n0 runs them in one process,
# for -s and --pdb).
PYTEST := $(TESTING) $(if $(filter postgresql,$(DATABASE)),$(PY) -m tests.postgresql) $(PY) -m pytest --numprocesses=4 --dist=worksteal
# For every platform and every Python from 3.11 on; what is locked already stays as it is.
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"
# What lints the demo page's scripts; node comes with requirements-dev.txt.
NODE := $(VENV)/bin/node
NODE_MODULES := node_modules/installed
PAGE_CLIENT := gateway/static/gateway/client.js
# Without the advertisement of Material's successor.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs
# What is linted is the project, not the developer's settings.
PLAIN := env -u DJANGO_SETTINGS_MODULE DATABASE_URL=sqlite://:memory:

.DELETE_ON_ERROR:
.PHONY: run check test coverage lint format clean hooks

run: $(INSTALLED) $(SECRET)
	@export SECRET_KEY="$${SECRET_KEY:-$$(cat $(SECRET))}" MARKETMUX_ANONYMOUS=1; \
	exec $(PY) manage.py serve --host $(HOST) --port $(PORT) --feed --feed-rate $(FEED_RATE) --prepare

check: lint
	@$(PYTEST) -m "not soak and not servers" $(ARGS)

# axe looks at the demo page; it is among what npm installs.
test: $(INSTALLED_DEV) $(NODE_MODULES)
	@$(PYTEST) $(ARGS)

# Fails below the floor in pyproject.toml.
coverage: $(INSTALLED_DEV) $(NODE_MODULES)
	@$(PYTEST) --cov --cov-report=term:skip-covered $(ARGS)

# What it costs: the parts, and whole servers beside a plain Channels application (make bench ARGS="--quick hub").
.PHONY: bench
bench: $(INSTALLED_DEV)
	@env -u DJANGO_SETTINGS_MODULE $(PY) -m tests.benchmarks $(ARGS)

.PHONY: soak
soak: $(INSTALLED_DEV)
	@$(TESTING) $(PY) -m pytest -m soak --timeout=3600
	@$(TESTING) $(PY) -m tests.soak --minutes $(MINUTES) $(ARGS)

.PHONY: autobahn
autobahn: $(INSTALLED_DEV)
	@env -u DJANGO_SETTINGS_MODULE $(PY) -m tests.autobahn $(ARGS)

# It asks nothing of other hosts, and warnings are errors (mkdocs.yml).
.PHONY: docs
docs: $(INSTALLED_DEV)
	@$(MKDOCS) $(or $(ARGS),build)

.PHONY: screenshots
screenshots: $(INSTALLED_DEV)
	@$(TESTING) $(PY) -m tests.screenshots $(ARGS)

lint: $(INSTALLED_DEV) $(NODE_MODULES)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m bandit --quiet --configfile pyproject.toml --recursive bus gateway marketmux ticks manage.py
	$(PY) -m tests.audit requirements.lock
	$(PLAIN) $(PY) -m mypy
	$(PLAIN) $(PY) -m mypy --config-file clients/python/pyproject.toml clients/python/src
	$(PLAIN) $(PY) manage.py makemigrations --check --dry-run --skip-checks
	$(MKDOCS) build
	$(NODE) node_modules/@biomejs/biome/bin/biome check --error-on-warnings
	$(NODE) node_modules/typescript/bin/tsc
	$(NODE) node_modules/typescript/bin/tsc --project clients/javascript --noEmit
	$(NODE) clients/javascript/build.js $(PAGE_CLIENT) --check
	$(PY) -m pre_commit validate-config
	$(VENV)/bin/shellcheck .ci/run
	$(VENV)/bin/hadolint Dockerfile
	$(PY) -m check_jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(PY) -m check_jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml

# The module of the JavaScript client that the demo page loads. It is committed, so that a gateway runs without Node.
.PHONY: client
client: $(INSTALLED_DEV) $(NODE_MODULES)
	$(NODE) clients/javascript/build.js $(PAGE_CLIENT)

format: $(INSTALLED_DEV) $(NODE_MODULES)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(NODE) node_modules/@biomejs/biome/bin/biome check --write

hooks: $(INSTALLED_DEV) $(NODE_MODULES)
	$(PY) -m pre_commit install

clean:
	rm -rf $(VENV) site .autobahn node_modules staticfiles .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The commands are tried, not looked up: a version manager's stand-ins exist for versions that are not installed.
$(PY):
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "MarketMux needs Python 3.11 or newer, and found none (make run PYTHON=/path/to/python3)"; exit 1; fi; \
	echo "Creating $(VENV) with $$($$found --version) ..."; \
	$$found -m venv --clear $(VENV) || { rm -rf $(VENV); echo "Could not create $(VENV)"; exit 1; }

# One lock after the other, so that tests run on the versions the gateway is installed with.
.PHONY: lock
lock: $(INSTALLED_DEV)
	$(LOCK) requirements.txt --output-file requirements.lock $(ARGS)
	$(LOCK) requirements-dev.txt --constraints requirements.lock --output-file requirements-dev.lock $(ARGS)

$(INSTALLED): requirements.lock | $(PY)
	@echo "Installing what the gateway needs: half a minute to two, this once ..."
	@{ $(PIP) -r requirements.lock || echo failed; } | $(SHOWN)
	@touch $@

$(INSTALLED_DEV): requirements-dev.lock | $(PY)
	@echo "Installing what tests and linters need ..."
	@{ $(PIP) -r requirements-dev.lock || echo failed; } | $(SHOWN)
	@touch $(INSTALLED) $@

$(NODE_MODULES): package-lock.json .npmrc | $(INSTALLED_DEV)
	@echo "Installing what lints and checks the scripts ..."
	@$(VENV)/bin/npm ci --ignore-scripts >/dev/null
	@touch $@

# One key for all runs, so that a login in the admin survives a restart.
$(SECRET): | $(PY)
	@umask 077 && $(PY) -c 'import secrets; print(secrets.token_urlsafe(50))' > $@
