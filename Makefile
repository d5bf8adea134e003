# Keybridge. `make` lists what there is.

GO       ?= go
RACE     ?= -race
FUZZTIME ?= 5s
ARGS     ?=
LINT_VERSION := v2.15.0
LINT := $(CURDIR)/.bin/golangci-lint

.DEFAULT_GOAL := help
.PHONY: help run build demo test compat-node lint fuzz bench mutants soak storm chaos rows needs-go needs-cc needs-node needs-postgres

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

run: build ## build and serve; ARGS="--config keybridge.yaml" for your own settings
	@exec bin/keybridge serve $(ARGS)

build: needs-go ## build bin/keybridge
	@$(GO) build -o bin/keybridge ./cmd/keybridge

demo: build ## 20 seconds of traffic while keys fail and heal (ARGS="--without-failover" shows it failing)
	@bin/keybridge demo $(ARGS)

test: needs-go needs-cc needs-postgres ## all tests, with the race detector and the official SDKs (RACE= without it)
	$(GO) test $(RACE) ./...
	cd test/compat && $(GO) test $(RACE) -count=1 -parallel 8 ./...

compat-node: needs-node build ## the Node SDKs and the AI SDK as clients (needs Node.js and npm)
	@cd test/compat-node && npm ci --no-audit --no-fund --loglevel=error && KEYBRIDGE=$(CURDIR)/bin/keybridge npm test --silent

lint: needs-go $(LINT) ## all linters (the first run installs golangci-lint into .bin)
	$(LINT) run ./...
	cd test/compat && $(LINT) run --config ../../.golangci.yml ./...

fuzz: needs-go ## every fuzz test for FUZZTIME, by default 5s
	@set -e; for f in $$(grep -rl --include='*_test.go' '^func Fuzz' cmd internal keypool); do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$f); do \
			echo "fuzz $$(dirname $$f) $$t"; \
			$(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f); \
		done; \
	done

mutants: needs-go ## one-line faults, each of which a named test must notice (ARGS="words" chooses)
	@$(GO) run ./test/mutants $(ARGS)

bench: build ## Keybridge measured beside bare proxies, about 8 minutes; writes docs/performance.md (ARGS="-only 1kb,events")
	@$(GO) build -o bin/bench ./test/bench
	@bin/bench -doc docs/performance.md $(ARGS)

soak: build ## a million streams through Keybridge, compared byte for byte (STREAMS=1000000)
	@$(GO) build -o bin/bench ./test/bench
	@bin/bench -soak $(or $(STREAMS),1000000)

storm: needs-go ## twenty simulated days of trouble: the pool beside an oracle; writes docs/storm.md and .svg (SEEDS=20)
	@$(GO) test -count=1 -timeout 1h -run '^TestStorm$$' ./test/storm -args -whole -seeds $(or $(SEEDS),20) -doc $(CURDIR)/docs/storm.md $(ARGS); \
		status=$$?; cat docs/storm.md; exit $$status

rows: needs-go ## a million interceptions in SQLite, and how long it takes to ask about them; writes docs/rows.md (ROWS=1000000)
	@$(GO) test -count=1 -timeout 1h -run '^TestRows$$' ./internal/store/storetest -v -args -rows $(or $(ROWS),1000000) -rows.doc $(CURDIR)/docs/rows.md $(ARGS)

chaos: needs-go needs-postgres ## 100 000 requests while all goes wrong, the record held against the providers' meter, about 7 minutes
	$(GO) test -v -count=1 -timeout 1h -run '^TestChaos$$' ./test/chaos -args -exchanges 100000 -outage 60s -margin 100ms $(ARGS)

$(LINT):
	GOBIN=$(dir $(LINT)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

needs-go:
	@command -v $(GO) >/dev/null || { echo "Go is not installed: get it from https://go.dev/dl/ (this needs $$(sed -n 's/^go //p' go.mod) or newer)" >&2; exit 1; }

needs-cc: needs-go
	@test -z "$(RACE)" || command -v $$($(GO) env CC) >/dev/null || { echo "the race detector needs a C compiler: apt-get install gcc libc6-dev (or: make test RACE=)" >&2; exit 1; }

needs-node:
	@command -v node >/dev/null && command -v npm >/dev/null || { echo "Node.js or npm is not installed: get them from https://nodejs.org/ (the SDKs ask for Node.js 22, 20 works)" >&2; exit 1; }

# Without PostgreSQL its tests are skipped, unless CI=true.
needs-postgres:
	@test/fetch-postgres || test "$$CI" != true
