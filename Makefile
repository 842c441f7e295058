# flowengine: every task starts here. `make run` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run demo test check interop bench torture reference venv lock clean

run: venv ## start the server on the embedded default
	@echo 'Inbound on 127.0.0.1:2525, submission on 127.0.0.1:2587; mail is kept in var/sink. When it says ready, try:'
	@echo '  swaks --server 127.0.0.1:2525 --from a@example.org --to b@example.net; ls var/sink'
	@echo '  $(BIN)/flowengine run flows/inbound.hsl docs/tour/mail.eml --client-ip 192.0.2.7 --trace'
	@echo 'README.md has the tour. Ctrl-C drains and ends.'
	@$(BIN)/flowengine serve

demo: venv ## the tour in half a minute: genuine, forged, signed
	@$(BIN)/python -m flowengine.servers.demo

test: venv ## every test that needs nothing but this repository
	$(BIN)/python -m pytest

check: venv ## format, lint, types, tests with coverage
	$(BIN)/ruff format .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report

interop: venv ## against real peers: swaks, Postfix, OpenDKIM, OpenSSL, PostgreSQL
	$(BIN)/python -m tests.interop

torture: venv ## kill workers at random for MINUTES=5, BACKEND=sqlite or postgresql, and account for every 250
	$(BIN)/python -m tests.torture --minutes $(or $(MINUTES),5) --backend $(or $(BACKEND),sqlite)

bench: venv ## what a message costs, beside the OpenSSL limit
	$(BIN)/python -m benchmarks

reference: venv ## write docs/reference anew from the functions
	$(BIN)/python -m flowengine.servers.reference_pages

venv: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: ## write requirements.lock anew from pyproject.toml (needs pip-tools)
	pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --extra fast --extra ldap --extra postgresql --extra dev --strip-extras --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) var build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
