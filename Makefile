# Shortcuts for contributors; see CONTRIBUTING.md. CI runs `make all`.

PYTHON = .venv/bin/python
ENVIRONMENT = .venv/made-for-TESTS

.PHONY: help check format test unit all sim fuzz environment

help:
	@echo 'make check         lint, formatting, types, order of packages: seconds'
	@echo 'make format        fix formatting and what ruff can fix'
	@echo 'make test T=PATH   one test file or directory; T=PATH::NAME for one test'
	@echo 'make unit          all tests but the slow ones: about a minute'
	@echo 'make all           all checks and all tests, as in CI: about a quarter of an hour'
	@echo 'make sim           the simulator: swarms of 16, 64 and 1,000 nodes'
	@echo 'make fuzz          the fuzzer: a million messages'
	@echo 'make environment   update .venv after a change of setup.py'

check: $(ENVIRONMENT)
	$(PYTHON) -m ruff check --quiet
	$(PYTHON) -m ruff format --check --quiet
	$(PYTHON) -m mypy --no-error-summary
	$(PYTHON) -m pytest --quiet test/test_layers.py

format: $(ENVIRONMENT)
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

test: $(ENVIRONMENT)
	$(PYTHON) -m pytest $(T)

unit: $(ENVIRONMENT)
	$(PYTHON) -m pytest --quiet -m 'not slow' --hypothesis-profile=quick

all:
	./scripts/test

sim: $(ENVIRONMENT)
	$(PYTHON) -m test.sim

fuzz: $(ENVIRONMENT)
	$(PYTHON) -m test.fuzz --messages 1000000

$(ENVIRONMENT):
	$(MAKE) environment

environment:
	bash -euc 'ROOT=$$PWD; . scripts/environment.sh; environment RUNTIME TESTS'
