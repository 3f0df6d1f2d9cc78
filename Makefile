.DEFAULT_GOAL := help
.PHONY: help demo up test test-reliability test-install acceptance check check-a-to-d check-e-to-z check-properties check-covered guard soak bench bench-quick format docs docs-serve pictures synth dist lock clean FORCE

PYTHON ?= python3
BIN    := .venv/bin
DIST   := dist
# Where it is set, each process compiles everything that it imports, and many a test starts processes.
unexport PYTHONDONTWRITEBYTECODE
# What has to be covered, line and branch, and the tests that do it. They run apart: traced, a test takes three times as long.
COVERED := hangup.core hangup.idle hangup.sessions hangup.handlers
COVERING := $(patsubst %,tests/unit/test_%.py,activity activity_recorder check close_handler events gateway_activity guard hand_over invariants kept_sockets \
  lifecycle messages pacing policy precise_sweep recording_health redrive repair requests scheduled_close several_records several_rules sweep_by_hand testing \
  timeout_handler timeouts_by_role tokens)
# What `make check` leaves to other targets.
LATER := slow or infra or integration
# What `make test` leaves to `make test-reliability`.
RELIABILITY := tests/model tests/faults tests/contract

help: ## List what make can do here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: .venv/.local ## Watch idle connections being closed, on this machine, and check the result
	@$(BIN)/hangup demo

up: .venv/.local ## Run the stack on this machine until Ctrl-C (120 s timeout, a sweep a minute)
	@$(BIN)/hangup up

check: .venv/.dev ## Lint, types, layers, unit and property tests (about a minute)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory -j4 $(if $(filter output-sync,$(.FEATURES)),-Oline) check-a-to-d check-e-to-z check-properties check-covered

# Beside one another. Processes of pytest-xdist would take a fifth more: each collects all tests.
check-a-to-d check-e-to-z: check-%:
	$(BIN)/python -m pytest $(filter-out $(COVERING),$(wildcard tests/unit/test_[$(subst -to-,-,$*)]*.py)) -m "not ($(LATER))"

check-properties:
	$(BIN)/python -m pytest tests/property tests/contract -m "not ($(LATER))"

check-covered:
	$(BIN)/python -m pytest $(COVERING) -m "not ($(LATER))" $(COVERED:%=--cov=%) --cov-report=
	$(BIN)/coverage report --fail-under=100 --include="src/hangup/core/*,src/hangup/idle/*,src/hangup/sessions/*,src/hangup/handlers/timeout_handler.py,src/hangup/handlers/close_handler.py,src/hangup/handlers/tracks_activity.py"

test: check ## check, then the template, the Lambda zip, the commands and real sockets (fourteen minutes)
	$(BIN)/python -m pytest tests $(RELIABILITY:%=--ignore=%) -m "($(LATER)) and not (lateness or install)" -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest tests -m "lateness and not install"

test-reliability: .venv/.dev ## The model, each fault in each call, and the contracts on real engines (eleven minutes)
	$(BIN)/python -m pytest $(RELIABILITY) -m "($(LATER)) and not (lateness or install)" -n 2 --dist loadfile --no-loadscope-reorder

test-install: .venv/.dev ## The virtualenv that heals itself, the wheel, Hangup without its extras, npm clients and examples (twelve minutes)
	$(BIN)/python -m pytest tests -m "install and not lateness" -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest tests -m "install and lateness"

acceptance: .venv/.dev ## Apps of other people's shapes, each with the timeout beside it, and the doctor (ten minutes)
	$(BIN)/python -m pytest tests/acceptance -m acceptance

soak: .venv/.dev ## 1,000 examples of each property, 2 x 50,000 schedules of the model, 500 real clients for five minutes, then 2,000 sockets closed in one sweep (an hour in all)
	HANGUP_EXAMPLES=1000 $(BIN)/python -m pytest tests/property -m "not slow" -n 2
	HANGUP_SCHEDULES=50000 $(BIN)/python -m pytest tests/model/test_model.py -k "in_memory or queue" -n 2
	HANGUP_SOAK_CLIENTS=500 HANGUP_SOAK_SECONDS=300 $(BIN)/python -m pytest tests/soak -s
	HANGUP_CROWD_CLIENTS=2000 $(BIN)/python -m pytest tests/integration/test_large_crowd.py -s

guard: .venv/.dev ## Simulate the guard over fleets of up to 100,000 clients, and write the tables of docs/explanation/guard.md
	$(BIN)/python -m tests.model.guard_table

bench: .venv/.dev ## Measure against the naive way (half an hour); one row: make bench ROWS=zip_mb
	$(BIN)/python -m benchmarks $(if $(ROWS),--rows $(ROWS))

bench-quick: .venv/.dev ## Show that the benchmarks work, small and without writing results (about a minute)
	$(BIN)/python -m benchmarks --quick

format: .venv/.dev ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: .venv/.docs ## Build the docs site in build/site; a broken link or a missing page fails
	@$(BIN)/python -m docs.site

docs-serve: .venv/.docs ## Build the docs site and show it on loopback until Ctrl-C
	@$(BIN)/python -m docs.site --serve

pictures: .venv/.dev ## Record runs of the demo and of other commands as pictures for the docs (a minute)
	@$(BIN)/python -m docs.pictures
	@$(BIN)/python -m docs.screens

synth: .venv/.cdk ## Build the Lambda zip, synthesise the template and refresh the copy in the package
	$(BIN)/python infra/app.py

# The same sources give the same bytes: the files in the archives have the time of the commit. The wheel
# is built from the sdist, so both are complete.
dist: .venv/.dev ## Build wheel and sdist, and the wheel with the Lambda zips, in dist/, reproducibly, and check them
	@rm -f "$(DIST)"/hangup-* "$(DIST)"/hangup_lambda-*
	@export SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}; \
	  $(BIN)/uv build -q --offline --no-build-isolation --python $(BIN)/python --out-dir "$(DIST)" && \
	  $(BIN)/python scripts/lambda_distribution.py "$(DIST)"
	@$(BIN)/twine check --strict "$(DIST)"/*.whl "$(DIST)"/*.tar.gz

lock: .venv/.dev ## Pin requirements/*.txt again from requirements/*.in
	cd requirements && for set in dev docs local cdk lambda; do ../$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $$([ $$set = dev ] || echo -c dev.txt) $$set.in -o $$set.txt; done

clean: ## Remove what was built and installed here (not .hangup, the state of `make up`)
	rm -rf .venv build dist cdk.out .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Always asked: only the script knows whether .venv is whole, was moved or has lost its Python.
.venv/.%: FORCE
	@command -v "$(PYTHON)" > /dev/null || { echo "hangup: there is no $(PYTHON): install Python 3.11 or newer, or name one: PYTHON=python3.13" >&2; exit 1; }
	@"$(PYTHON)" scripts/virtualenv.py $* $(if $(filter-out file,$(origin PYTHON)),--with-this-python)

FORCE:

