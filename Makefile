# `make run` and `make test` are all that a fresh machine needs; `make help` lists the rest.

BIN := .venv/bin
RUNTIME := .venv/.runtime
DEV := .venv/.dev
SETUP := deploy/environment.py
SOURCES := pyproject.toml requirements.lock $(SETUP)

# The first Python that is new enough; looked for only when the environment has to be made.
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3.11 python3 python3.12 python3.13; do \
	if $$each -c '$(IS_NEW_ENOUGH)' 2>/dev/null; then echo $$each; break; fi; done)

LOCKED := requirements.lock
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --extra dev --extra build --universal \
	--python-version 3.11 --generate-hashes --no-header
# A release may get more files, and so more hashes, at any time; its pins and their reasons stay.
PINS := sed -e '/--hash=/d' -e 's/ .$$//'

# uv goes where pip goes, and trusts whom this machine trusts (as deploy/environment.py sets it too).
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= true
endif
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

# The tests wait more than they work: three processes fit two cores. Files are taken in the order of `testpaths`,
# the long ones first: by their number of tests, those would come last, one a process.
TESTERS ?= 3

.PHONY: run test check chaos soak chaos-points chaos-outages machines lock bench bench-load bench-memory bench-gate bench-answers bench-growth clean help

run: $(RUNTIME) ## start Mneme and all it needs on this machine; Ctrl-C stops it
	@exec $(BIN)/mneme run

test: $(DEV) ## run the tests (ARGS="-k word" is passed on)
	$(BIN)/pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(DEV) ## style, types, the direction of imports, the lock
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && cp $(LOCKED) "$$fresh/$(LOCKED)" \
	  && $(COMPILE) -o "$$fresh/$(LOCKED)" \
	  && $(PINS) $(LOCKED) >"$$fresh/committed" && $(PINS) "$$fresh/$(LOCKED)" >"$$fresh/wanted" \
	  && { diff -u "$$fresh/committed" "$$fresh/wanted" \
	    || { echo "$(LOCKED) is out of step: run make lock"; exit 1; }; }
	@! grep -nE '://|^-' $(LOCKED) \
	  || { echo "$(LOCKED) must not name where packages come from"; exit 1; }
	@echo "$(LOCKED) is in step with pyproject.toml"

chaos: $(DEV) ## kill and stop everything at random, then reckon up (SECONDS=60 SEED=1 DATABASE=postgresql)
	@$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),60) --seed "$(SEED)" --database $(or $(DATABASE),sqlite)

soak: $(DEV) ## the same for an hour
	@$(MAKE) --no-print-directory chaos SECONDS=3600

chaos-points: $(DEV) ## kill -9 at exact points, 20 times each (KILLS=20 DATABASE=postgresql)
	@$(BIN)/python -m tests.chaos.points --kills $(or $(KILLS),20) --database $(or $(DATABASE),sqlite)

chaos-outages: $(DEV) ## take away one part after the other (SECONDS=30 each), and tell what is seen
	@$(BIN)/python -m tests.chaos.outages --seconds $(or $(SECONDS),30)

machines: $(DEV) ## let the state machines try to break things, RUNS=200 times each
	MACHINE_EXAMPLES=$(or $(RUNS),200) MACHINE_SHRINKS=1 \
	  $(BIN)/pytest tests/integration/test_delivery_machine.py tests/integration/test_job_machine.py --timeout 0 $(ARGS)

lock: $(BIN)/uv ## write requirements.lock anew; pins stay (ARGS="--upgrade-package NAME" moves one)
	$(COMPILE) -o $(LOCKED) $(ARGS)

bench: $(DEV) ## run the benchmarks
	$(BIN)/pytest tests/benchmarks -s $(ARGS)

bench-load: $(DEV) ## messages a second, beside echo bots (ARGS="--minutes 60"; ARGS=--help says more)
	$(BIN)/python -m tests.benchmarks.load $(ARGS)

bench-memory: $(DEV) ## what recall finds of the evidence in DATA=a-set.json.gz, beside the index alone
	@test -n "$(DATA)" || { echo "Say which set: make bench-memory DATA=path.json.gz"; exit 1; }
	@$(BIN)/mneme bench recall --data $(DATA) $(ARGS)

bench-growth: $(DEV) ## how long a recall takes as a memory grows, beside plain Chroma (ARGS=--help says more)
	@$(BIN)/python -m tests.benchmarks.growth $(ARGS)

bench-answers: $(DEV) ## what a model answers with the memory, without, and with all that was told (ARGS="--life Ana")
	@$(BIN)/python -m tests.benchmarks.answers $(ARGS)

bench-gate: $(DEV) ## what gets through the write gate, of labelled messages (ARGS=--model lets the model read them)
	@$(BIN)/python -m tests.benchmarks.gate $(ARGS)

clean: ## remove the environment and the caches; data stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(RUNTIME): $(SOURCES)
	@$(call set-up,runtime)

# It is there before a dependency is added that the lock doesn't have yet.
$(BIN)/uv:
	@$(call set-up,dev)

$(DEV): $(SOURCES)
	@$(call set-up,dev)

define set-up
test -n "$(PYTHON)" || { echo "Mneme needs Python 3.11 or newer (apt install python3 python3-venv)"; exit 1; }
$(PYTHON) $(SETUP) $(1)
endef
