# Every target starts with what it does; `make help` prints this list.
GO      ?= go
# One set of flags for building and testing, so that everything is compiled once; only
# the race detector needs C and a second set.
export GOFLAGS := $(GOFLAGS) -trimpath
export CGO_ENABLED ?= 0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
CORES    = ./master/ledger/... ./master/allocate/... ./agent/lifecycle/... \
           ./framework/app/... ./framework/core/... ./framework/deploy/... ./framework/match/... \
           ./dns/names/... ./lb/labels/... ./lb/render/... ./internal/resource/... ./internal/wire/...

.DEFAULT_GOAL := help
.PHONY: help run setup testsetup build test race lint bench soak hosts fmt clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

run: setup build ## set up, build, start `stoa dev`, deploy the demo apps and print what to try
	@scripts/demo

setup: ## install the Debian packages that are missing
	@scripts/setup

testsetup: ## the same, and what only tests need: a Docker engine that is not started
	@scripts/setup --tests

build: ## build bin/stoa and bin/stoa-demo, both static
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/stoa ./cmd/stoa
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/stoa-demo ./apps/demo

test: testsetup build ## set up, then every test: race detector for the cores, real processes for the whole
	$(GO) vet ./...
	CGO_ENABLED=1 $(GO) test -race -count=1 $(CORES)
	STOA_BIN=$(CURDIR)/bin/stoa STOA_DEMO_BIN=$(CURDIR)/bin/stoa-demo $(GO) test -count=1 -p 2 -timeout 15m ./...

race: testsetup build ## every test under the race detector
	CGO_ENABLED=1 STOA_BIN=$(CURDIR)/bin/stoa STOA_DEMO_BIN=$(CURDIR)/bin/stoa-demo $(GO) test -race -count=1 -p 2 -timeout 30m ./...

lint: ## formatting, vet and staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go' ':!*.pb.go'))" || { gofmt -l $$(git ls-files '*.go' ':!*.pb.go'); exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

bench: testsetup build ## run every benchmark row; one JSON line each
	scripts/bench all

soak: testsetup build ## long randomised runs and the load test; a failing seed is a subtest's name and replays
	STOA_SOAK=1 $(GO) test -count=1 -timeout 60m -run 'TestSimulation|TestCrashAtEveryEffect|TestNoRequestFails|TestRollingRestarts|TestAcknowledgedWrites|KeepsNothing' ./framework/core ./lb ./internal/lab
	STOA_SOAK=1 $(GO) test -count=1 -timeout 60m ./master/ledger/ledgersim
	STOA_SOAK=1 $(GO) test -count=1 -timeout 60m -run TestSimulation ./agent/lifecycle
	STOA_SOAK=1 $(GO) test -count=1 -timeout 60m -run 'LaunchesLeaveNothing|TestCrash|TestAgentKilledAround|TestEngineKilledAnywhere|ThroughKills' ./agent ./agent/container/docker
	$(GO) test -count=1 -timeout 60m ./master/allocate ./lb/labels ./framework/deploy ./framework/match ./internal/resource -rapid.checks=5000

hosts: build ## the agent's tests on virtual machines with cgroup v2, hybrid, mixed, v1 and systemd (hours)
	scripts/hosts

fmt: ## format the Go code
	gofmt -w $$(git ls-files '*.go' ':!*.pb.go')

clean: ## remove what was built
	rm -rf bin
