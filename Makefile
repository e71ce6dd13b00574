# `make run` and `make test` are all that most people need; both set everything up first.
VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help run test setup setup-test lint format unit slow snapshots wheel docs screenshots \
	bench-sim bench-train bench-ui clean distclean

help: ## what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

run: setup ## set everything up and start the app
	@$(VENV)/acs-assistant

test: lint ## set everything up, lint, and run the tests
	@$(PYTEST) -m "not slow"

setup: ## only the set-up of `make run`
	@scripts/setup.sh run

setup-test: ## only the set-up of `make test`
	@scripts/setup.sh test

lint: setup-test ## ruff, mypy --strict, import-linter
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports

format: setup-test ## let ruff rewrite what it can
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

unit: setup-test ## the tests without the lint
	@$(PYTEST) -m "not slow"

slow: setup-test ## the tests that take minutes
	@$(PYTEST) -m slow

snapshots: setup-test ## accept the screens as they are now
	@$(PYTEST) tests/tui --snapshot-update

wheel: setup-test ## dist/acs_assistant-*.whl
	@rm -rf build dist *.egg-info
	@$(VENV)/python -m pip --disable-pip-version-check wheel --no-deps --wheel-dir dist .
	@rm -rf build

docs: setup ## the reference pages under docs/, from the code
	@$(VENV)/python scripts/reference.py

screenshots: setup ## docs/images/*.svg from the running app
	@$(VENV)/python scripts/screenshots.py

bench-sim: setup-test ## simulation speed, one JSON object on the last line
	@$(VENV)/python tests/benchmarks/bench_sim.py

bench-train: setup-test ## training speed, one JSON object on the last line
	@$(VENV)/python tests/benchmarks/bench_train.py --sampling --trl

bench-ui: setup-test ## key latency under load, one JSON object on the last line
	@$(VENV)/python tests/benchmarks/bench_ui.py

clean: ## remove what builds and tests left behind
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find acs_assistant training tests circuits -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## also the virtual environment, so that set-up starts over
	@rm -rf .venv .setup.lock
