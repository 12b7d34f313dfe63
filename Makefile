# Everything a person types. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PYTHON := $(VENV)/bin/python
UV := $(VENV)/bin/uv
CHAT_PORT ?= 3000
GATEWAY_PORT ?= 4000
ONCE ?=
CLIS ?=
ARGS ?=
SEED ?=
TO ?=
FROM ?=
export RC_URL RC_ADMIN RC_ADMIN_PASSWORD RC_CODE RC_HOOK_HOST
RC_HOST = $(shell sed -E 's,^[a-z]+://([^/:]+).*,\1,' <<<"$(RC_URL)")
comma := ,

.PHONY: help up down logs update backup restore pin runtime-host test-compose test-pages install install-traces install-dev demo docs test test-clis bench-agents faults conformance bench bench-admin bench-context lint format lock platforms manage migrate bootstrap create-bridge wheel clean

help:  ## List these words
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## /\1\t/' \
		| while IFS=$$'\t' read -r word text; do printf '  \033[1m%-14s\033[0m %s\n' "$$word" "$$text"; done

install:  ## Make .venv with what running needs, from the locks
	@.ci/install run

install-traces:  ## The same, able to send OpenTelemetry traces
	@.ci/install traces

install-dev:  ## Make .venv with what testing and linting need too
	@.ci/install dev

demo: install  ## Run a whole Nexus here until Ctrl-C (ONCE=1: check one round trip; CLIS=1: your CLIs; CHAT_PORT=, GATEWAY_PORT=)
	@exec $(PYTHON) -m docker.embedded demo --chat-port $(CHAT_PORT) --gateway-port $(GATEWAY_PORT) \
		$(if $(filter-out 0,$(ONCE)),--once) $(if $(filter-out 0,$(CLIS)),--clis)

up:  ## Run Nexus for a team, in containers (first time: HOST=name TLS=1 DEVCHAT=1 as you need; then .env says it)
	@HOST='$(if $(findstring command,$(origin HOST)),$(HOST))' docker/up

down:  ## Stop the containers; what they stored stays
	@docker/compose down

logs:  ## Follow what the containers write (ARGS="chat composer" chooses)
	@docker/compose logs -f --tail 100 $(ARGS)

update:  ## After `git pull`: new image and migrations, and back to the old image when anything fails
	@docker/update

backup:  ## Write a backup of the containers' Nexus (TO=folder, ARGS="--encrypt --keep 14")
	@docker/backup $(TO) $(ARGS)

restore:  ## Fill the containers' Nexus from a backup or an update's dump (FROM=file, ARGS=--replace)
	@docker/restore "$(FROM)" $(ARGS)

pin:  ## Write the digest of every image that docker/ names behind its name
	@docker/pin

runtime-host:  ## Run the agents of this host beside the containers, until Ctrl-C
	@exec docker/manage runtime_host

test-pages: install-dev  ## Open every page of the admin site in a browser, wide and narrow, light and dark (ADMIN_SHOTS=folder keeps pictures)
	@ADMIN_PAGES=all $(PYTHON) -m pytest tests/admin/test_browser_pages.py -q -s $(ARGS)

test-compose: install-dev  ## Build the images, compose the stack under podman and run the end-to-end tests against it
	@TEST_COMPOSE=1 $(PYTHON) -m pytest tests/compose -q -s $(ARGS)

test: install-dev  ## Run all tests on embedded services (ARGS="-k words" chooses)
	@$(PYTHON) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

test-clis: install-dev  ## Install real CLIs into .nexus/clis and drive whole turns of each (ARGS="-k codex")
	@TEST_CLIS=1 $(PYTHON) -m pytest tests/clis -q $(ARGS)

bench-agents: install-dev  ## Measure turns of real CLIs through Nexus beside the bare CLI, memory, and 100 MB of output
	@$(PYTHON) -m benchmarks.agents

faults: install-dev  ## Run the long fault tests and the long model exploration (SEED= replays one)
	@FAULTS_LONG=1 $(if $(SEED),FAULTS_SEED=$(SEED)) $(PYTHON) -m pytest tests/faults tests/model -s $(ARGS)

conformance: install-dev  ## Ask a server what Nexus takes for granted of it (RC_URL= RC_ADMIN= RC_ADMIN_PASSWORD= [RC_CODE=] [RC_HOOK_HOST=]; without RC_URL the devchat)
	@$(PYTHON) -m pytest tests/conformance -v $(if $(RC_URL),--allow-hosts=127.0.0.1$(comma)::1$(comma)localhost$(comma)$(RC_HOST)) $(ARGS)

bench: install-dev  ## Measure, each figure beside its goal (ARGS="H1 B1" chooses)
	@$(PYTHON) -m benchmarks $(ARGS)

bench-context: install-dev  ## Measure what prompts hold of what a question needs (ARGS="--set busy --rename --dump DIR --growth")
	@$(PYTHON) -m benchmarks.context $(ARGS)

bench-admin: install-dev  ## Measure the admin's pages with a million messages
	@$(PYTHON) -m benchmarks W1

lint: install-dev  ## Check style, types, import directions, migrations, spelling
	@.ci/lint

docs: install-dev  ## Build the documentation site into site/, to be read without a network
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo "Open site/index.html; with its search: $(PYTHON) -m http.server -b 127.0.0.1 -d site 8000"

format: install-dev  ## Format the code and fix what can be fixed
	@$(VENV)/bin/ruff check --fix-only --quiet .
	@$(VENV)/bin/ruff format .

lock: install-dev  ## Pin the dependencies of requirements/*.in anew (ARGS=--upgrade for newer versions)
	@.ci/lock $(ARGS)

platforms: install-dev  ## Ask the index whether every locked package has wheels for x86-64 and arm64
	@.ci/platforms

manage:  ## Run manage.py against the running demo, else the containers, else the .env here (ARGS="doctor")
	@docker/manage $(ARGS)

migrate:  ## Bring the database up to date
	@docker/manage migrate

bootstrap:  ## Bring Rocket.Chat to where Nexus can work in it (ARGS="--room backend --code 123456")
	@docker/manage bootstrap $(ARGS)

create-bridge:  ## Make an agent behind a new bridge (USER= CLI= [ROLE=] [ROOM="general backend"])
	@test "$(origin USER)" = "command line" -a -n "$(CLI)" || { echo "Say whose agent and which CLI: make create-bridge USER=alice CLI=claude [ROLE=backend] [ROOM=general]"; exit 2; }
	@docker/manage create_bridge "$(USER)" "$(CLI)" $(if $(ROLE),--role "$(ROLE)") $(foreach room,$(ROOM),--room "$(room)")

wheel: install  ## Build the bridge's wheel into dist/
	@$(UV) build --quiet --wheel --no-build-isolation --offline --python $(PYTHON) --out-dir dist bridge_client

clean:  ## Remove the virtualenv, caches and what the demo stored
	@.ci/clean
