# Tributary. `make help` lists the targets. A machine needs Go and make for all
# of them but testnet (Docker and docker-compose). Everything that is made goes
# to build/, so `make clean` undoes it.

SHELL    := /bin/sh
BUILD    := build
TOOLS    := $(CURDIR)/$(BUILD)/tools
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
GOBUILD  := go build -trimpath -buildvcs=false
FUZZTIME ?= 30s
SOAKTIME ?= 10m
PKG      ?= ./...

# The packages whose tests take longest begin first. They wait more than they
# compute, so one package more than there are cores is tested at a time.
LONGEST := ./tests/e2e ./consensus/comet
# A node, a disk or a clock that stands still on a busy machine fails tests of
# real processes: up to six failed tests run once more and are named at the
# end. What is wrong fails twice, and tests of rules (all but those of TIMED)
# may not fail at all. RETRY= turns it off.
RETRY   := --rerun-fails=1 --rerun-fails-max-failures=6 --rerun-fails-run-root-test --rerun-fails-report=$(BUILD)/retried.txt
TIMED   := /(api|consensus/comet|node|tests/(demo|e2e|sharded)|ledger/kv)[/.]
JOBS    := $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)

# Static binaries and no C compiler. GOWORK=off: this tree's go.mod decides.
export CGO_ENABLED := 0
export GOWORK      := off

.PHONY: build demo test lint proto proto-check proto-tools bench sim fuzz soak testnet testnet-down clean help
.DEFAULT_GOAL := build

build: ## build the static binary build/tributary
	@echo "building $(BUILD)/tributary $(VERSION)"
	@mkdir -p $(BUILD)
	@$(GOBUILD) -ldflags '$(LDFLAGS)' -o $(BUILD)/tributary ./node/cmd/tributary
	@ls -l $(BUILD)/tributary | awk '{printf "built %s, %.1f MB\n", $$NF, $$5/1e6}'

demo: build ## four validators, 1,000 channels, 100,000 vouchers, settled and checked
	@echo "building $(BUILD)/demo"
	@$(GOBUILD) -o $(BUILD)/demo ./tests/demo
	@./$(BUILD)/demo

test: proto-check $(TOOLS)/gotestsum ## go vet, freshness of generated code, every test (PKG=./ledger/... for a part)
	@echo "vet: go vet $(PKG)"
	@go vet $(PKG)
	@rm -f $(BUILD)/retried.txt
	@$(TOOLS)/gotestsum --format pkgname $(RETRY) --packages '$(if $(filter ./...,$(PKG)),$(LONGEST)) $(PKG)' -- -timeout 30m -p $(JOBS)
	@if [ -s $(BUILD)/retried.txt ]; then echo "passed on the second run only:"; cat $(BUILD)/retried.txt; fi
	@if [ -s $(BUILD)/retried.txt ] && grep -Ev '$(TIMED)' $(BUILD)/retried.txt; then echo "these do not depend on time: they may not fail once"; exit 1; fi

lint: $(TOOLS)/golangci-lint ## golangci-lint with the dependency order as rules
	@echo "lint: golangci-lint run $(PKG)"
	@$(TOOLS)/golangci-lint run $(PKG)

proto: proto-tools ## lint the .proto files and generate Go beside them
	@cd proto && PATH="$(TOOLS):$$PATH" buf lint && PATH="$(TOOLS):$$PATH" buf generate
	@echo "proto: generated"

proto-tools: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc

proto-check: ## generated code is what the .proto files give
	@./.ci/proto-check

bench: build ## throughput, latency, memory against the machine's limits; writes build/bench.json
	@echo "building $(BUILD)/bench"
	@mkdir -p $(BUILD)
	@$(GOBUILD) -o $(BUILD)/bench ./tests/bench
	@./$(BUILD)/bench

sim: ## what 1 to 1,024 shards would carry and what limits them: a model; costs of operations are measured here
	@echo "building $(BUILD)/capacity"
	@mkdir -p $(BUILD)
	@$(GOBUILD) -o $(BUILD)/capacity ./tests/sim/capacity
	@./$(BUILD)/capacity

fuzz: ## run every fuzz target for FUZZTIME (default 30s)
	@./.ci/fuzz $(FUZZTIME)

soak: ## seven nodes whose validators come, go and fail for SOAKTIME (default 10m), then 100,000 messages of shards under faults, then kills at every step of a message, committees that change and loads that split shards, each with an audit
	@go test ./tests/e2e -run '^TestSoak$$' -count=1 -v -timeout 0 -args -soak $(SOAKTIME)
	@go test ./tests/e2e -run '^TestShardsUnderFaults$$' -count=1 -v -timeout 0 -args -shards.messages 100000
	@go test ./tests/e2e -run '^TestShardsKilledAtEachStep$$' -count=1 -v -timeout 0 -args -steps.seeds 3
	@go test ./tests/e2e -run '^(TestCommitteesRotate|TestLoadSplitsAndMerges)$$' -count=1 -v -timeout 0 -parallel 1 -args -long

testnet: build ## four validators in containers, ports on 127.0.0.1
	@./deploy/testnet up

testnet-down: ## stop them; leave no container, volume, network or image
	@./deploy/testnet down

clean: ## remove build/ (a running testnet stays: see testnet-down)
	@rm -rf $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Tools are pinned with their sums in .tools/go.mod, a module of its own, so
# that they do not lift the versions that Tributary runs on.
$(TOOLS)/golangci-lint: TOOL = github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(TOOLS)/gotestsum: TOOL = gotest.tools/gotestsum
$(TOOLS)/buf: TOOL = github.com/bufbuild/buf/cmd/buf
$(TOOLS)/protoc-gen-go: TOOL = google.golang.org/protobuf/cmd/protoc-gen-go
$(TOOLS)/protoc-gen-go-grpc: TOOL = google.golang.org/grpc/cmd/protoc-gen-go-grpc
$(TOOLS)/%: .tools/go.mod .tools/go.sum
	@echo "building $(notdir $@), once"
	@mkdir -p $(TOOLS)
	@go build -C .tools -mod=readonly -trimpath -o $@ $(TOOL)
	@touch $@
