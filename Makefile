# Tools are run at these versions and need not be installed.
GOLANGCI_LINT_VERSION := v2.15.0

GO        ?= go
FUZZTIME  ?= 60s
BENCH     ?= .
BENCHARGS ?= -check
SOAKTIME  ?= 10m
TESTARGS  ?=

GOLANGCI_LINT := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
# Targets are never files, and two at once would disturb each other's clocks.
.NOTPARALLEL:
.PHONY: help build demo test race race-short cover fuzz fuzz-short bench lint vet format \
	components conformance conformance-fast soak soak-short check

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the binaries of cmd/ into bin/
	CGO_ENABLED=0 $(GO) build -o bin/ ./cmd/...

demo: ## start the demo worker and call it
	$(GO) run ./examples/hello/client $(GO) run ./examples/hello

test: ## run the Go tests (TESTARGS)
	$(GO) test $(TESTARGS) ./...
	$(GO) test -C bench/peers -mod=readonly $(TESTARGS) ./...

race: ## run the Go tests under the race detector
	$(GO) test -race ./...

race-short: ## the same without the slow tests
	$(GO) test -race -short ./...

cover: ## print test coverage, and write .cache/cover.html
	@mkdir -p .cache
	$(GO) test -short -coverpkg=./... -coverprofile=.cache/cover.out ./...
	@$(GO) tool cover -html=.cache/cover.out -o .cache/cover.html
	@$(GO) tool cover -func=.cache/cover.out | tail -1

fuzz: ## fuzz each target for FUZZTIME (60s)
	@GO="$(GO)" .ci/fuzz $(FUZZTIME)

fuzz-short: ## fuzz each target for a few seconds
	@GO="$(GO)" .ci/fuzz 5s

bench: ## run the Go benchmarks, and the worker against the floor (BENCH, BENCHARGS)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...
	CGO_ENABLED=0 $(GO) build -o bin/ ./cmd/vgi-worker ./bench/wirebench
	bin/wirebench compare -worker 'bin/vgi-worker --max-connections 1000' $(BENCHARGS)

lint: ## run the linters and check the format
	$(GOLANGCI_LINT) run ./...
	cd bench/peers && $(GOLANGCI_LINT) run --disable gomoddirectives ./... # its replace directive leads here

vet: ## run go vet, and verify the modules
	$(GO) vet ./...
	$(GO) vet -C bench/peers -mod=readonly ./...
	$(GO) mod verify

format: ## format the code
	$(GOLANGCI_LINT) fmt ./...

conformance: ## run the canonical Python suite against bin/vgi-worker (the 2 GiB echo takes 14 GiB), and with our client
	conformance/run.sh
	conformance/run.sh --client

conformance-fast: ## the same over one transport and without the 2 GiB echo
	conformance/run.sh --fast

soak: ## call every transport for SOAKTIME (10m) over connections that break, look for growth, and run the canonical soak at scale 20
	VGI_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 24h -v -run 'TestSoak$$' ./conformance/soak
	conformance/soak/canonical/run.sh

soak-short: ## the same for two minutes, and at scale 1
	VGI_SOAK=2m $(GO) test -count=1 -v -run 'TestSoak$$' ./conformance/soak
	VGI_RPC_SOAK_SCALE=1 conformance/soak/canonical/run.sh

components: ## install the Python reference, gateways and browser that tests start
	.ci/components

check: components vet lint race-short fuzz-short test conformance soak-short ## everything that a change must pass
