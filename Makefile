# Two commands do everything: `make run` and `make test`.

PYTHON ?= python3
VENV   ?= .venv
PEERS  ?= .venv-peers
NDIF   ?= .venv-ndif
# What pip installs as torch, and from where. The user's own pip settings decide between CPU and CUDA builds.
TORCH  ?= torch --constraint constraints.txt
# Tests that run beside each other.
JOBS   ?= 2
LOAD_REPORT ?= load.md
# What `make soak` tries in full.
WHOLE   = tests/data tests/model tests/steering tests/vectors tests/metrics tests/measuring tests/contest \
	  tests/app/test_ready.py tests/test_api.py
HOST    = $(or $(GRADIO_SERVER_NAME),127.0.0.1)
PORT    = $(or $(GRADIO_SERVER_PORT),7860)

.PHONY: run test test-ndif soak attack lint screenshot bench presets docs clean

run: $(VENV)/.run-ready
	GRADIO_SERVER_NAME=$(HOST) GRADIO_SERVER_PORT=$(PORT) $(VENV)/bin/python app.py

# What is compiled is kept, also where the environment asks for the opposite: each of some twenty processes would do it anew.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.test-ready
	$(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

# Every rule on every architecture, all files that are drawn, and sizes that take minutes; the tables of the load go to $(LOAD_REPORT).
soak: $(VENV)/.test-ready
	CAA_FULL=1 $(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile $(WHOLE)
	CAA_FUZZ_CASES=12000 \
	CAA_LOAD_CLIENTS=30 CAA_LOAD_SECONDS=300 CAA_LOAD_DTYPES=default CAA_LOAD_MODEL=smollm2-135m \
	CAA_LOAD_REPORT=$(LOAD_REPORT) CAA_SOAK_JOBS=500 CAA_SOAK_VISITORS=50 CAA_SOAK_MODEL=smollm2-135m \
	CAA_ATTACK=10 CAA_ATTACK_MODEL=smollm2-135m \
		$(VENV)/bin/python -m pytest -s tests/soak
	$(VENV)/bin/python -m benchmarks.nulls
	$(VENV)/bin/python -m benchmarks.null_contests

# What a stranger does to an app that is open to all, in full; `make soak` does it too.
attack: $(VENV)/.test-ready
	CAA_ATTACK=10 CAA_ATTACK_MODEL=smollm2-135m $(VENV)/bin/python -m pytest -s tests/soak/test_attack.py

# The same work on a real NDIF host, which is brought up on this machine; it needs redis-server.
test-ndif: $(VENV)/.test-ready $(NDIF)/.ready
	CAA_NDIF_VENV=$(abspath $(NDIF)) $(VENV)/bin/python -m pytest tests/ndif

lint: $(VENV)/.test-ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/mypy --cache-dir $(VENV)/mypy

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make run PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "No environment could be made; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.run-ready: requirements.txt constraints.txt | $(VENV)/bin/pip
	$(VENV)/bin/pip install --quiet $(TORCH)
	$(VENV)/bin/pip install --quiet --requirement requirements.txt
	@touch $@

$(VENV)/.test-ready: requirements-dev.txt requirements-mcp.txt requirements-quantised.txt $(VENV)/.run-ready
	$(VENV)/bin/pip install --quiet --requirement requirements-dev.txt
	@touch $@

screenshot: $(VENV)/.test-ready
	CAA_SCREENSHOT=1 $(VENV)/bin/python -m pytest tests/browser -k the_first_minute

# The peers need other versions of the libraries, so they get an environment of their own.
$(PEERS)/.ready: benchmarks/peers.txt | $(VENV)/bin/pip
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet $(TORCH)
	$(PEERS)/bin/pip install --quiet --requirement benchmarks/peers.txt
	@touch $@

# The host's side; ndif says that it wants Python 3.12, and runs on 3.11.
$(NDIF)/.ready: tests/ndif/requirements.txt | $(VENV)/bin/pip
	$(PYTHON) -m venv $(NDIF)
	$(NDIF)/bin/pip install --quiet $(TORCH)
	$(NDIF)/bin/pip install --quiet --requirement tests/ndif/requirements.txt
	$(NDIF)/bin/pip install --quiet --no-deps --ignore-requires-python ndif==0.1.2
	@touch $@

bench: $(VENV)/.test-ready $(PEERS)/.ready
	$(VENV)/bin/python -m benchmarks.run --peers $(PEERS)/bin/python $(BENCH)

presets: $(VENV)/.run-ready
	$(VENV)/bin/python -m presets.build $(PRESETS)
	$(VENV)/bin/python -m presets.build_ready

# The public functions, from their docstrings.
docs: $(VENV)/.test-ready
	$(VENV)/bin/python -m pdoc --no-show-source --output-directory build/api caa_core.api

clean:
	rm -rf $(VENV) $(PEERS) $(NDIF) build
