# Formicary. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TOOLS    := $(CURDIR)/bin/tools
MODULES  := libs proto/gen $(wildcard services/*)
SERVICES := api-gateway job-manager scheduler resource-manager supervisor ant
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFLAGS_BUILD := -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
export CGO_ENABLED ?= 0
# scripts/setup.sh puts a toolchain here where the machine's own go is too old.
export PATH := $(CURDIR)/bin/toolchain/bin:$(PATH)

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## install what is missing: Debian packages (PostgreSQL), check Go
	@scripts/setup.sh

.PHONY: setup-test
setup-test:
	@scripts/setup.sh test

.PHONY: build
build: ## bin/formicary and one binary per service
	@mkdir -p bin
	go build $(GOFLAGS_BUILD) -o bin/ ./services/formicary/cmd/formicary $(foreach s,$(SERVICES),./services/$(s)/cmd/$(s))

.PHONY: demo
demo: setup build ## install, build, start the embedded colony, run a pipeline that builds this repository
	@scripts/demo.sh

.PHONY: registry
registry: ## an empty registry of images at 127.0.0.1:5000 until Ctrl-C; PORT chooses
	@scripts/registry.sh $(PORT)

.PHONY: test
test: setup-test borders ## all tests with the race detector, on real PostgreSQL, NATS and etcd
	@scripts/test.sh

.PHONY: check
check: fresh lint test ## generated code is fresh, lint is clean, tests pass

.PHONY: borders
borders: ## only services/formicary may require another service
	@scripts/borders.sh

.PHONY: bench
bench: setup build ## measure: prints a table, writes .bench/latest.json
	@mkdir -p .bench
	go run ./services/formicary/cmd/bench --formicary bin/formicary --out .bench/latest.json

.PHONY: fuzz
fuzz: ## every fuzz target for five minutes each; FUZZTIME and TARGETS choose
	@scripts/fuzz.sh

.PHONY: model
model: ## 100,000 random runs of the engine against its reference (about 10 minutes)
	cd services/supervisor && FORMICARY_MODEL_RUNS=100000 go test -timeout 60m -run TestAgainstReference ./internal/engine

.PHONY: flood
flood: ## 1 GiB of output through every executor, instead of 64 MiB
	cd services/ant && FORMICARY_FLOOD=1 go test -count=1 -v -timeout 30m -run 'TestConformance/.*/a_flood' ./internal/shell
	cd services/ant && FORMICARY_FLOOD=1 go test -count=1 -v -timeout 30m -run 'TestConformance/a_flood' ./internal/docker

.PHONY: replicas
replicas: ## two processes of everything, a random one killed every second, 200 jobs; FORMICARY_E2E_SEED repeats a run
	FORMICARY_REPLICAS=1 go test -count=1 -v -timeout 20m -run TestTwoOfEverything ./services/formicary/e2e

.PHONY: tools
tools: $(TOOLS)/buf $(TOOLS)/sqlc ## build the pinned generators into bin/tools

$(TOOLS)/buf: scripts/tools/buf/go.mod
	@mkdir -p $(TOOLS)
	cd scripts/tools/buf && GOWORK=off go build -o $(TOOLS)/buf github.com/bufbuild/buf/cmd/buf

$(TOOLS)/sqlc: scripts/tools/go/go.mod
	@mkdir -p $(TOOLS)
	cd scripts/tools/go && GOWORK=off go build -o $(TOOLS)/ $$(sed -n '/^tool (/,/^)/p' go.mod | grep '/')

$(TOOLS)/golangci-lint: scripts/tools/lint/go.mod
	@mkdir -p $(TOOLS)
	cd scripts/tools/lint && GOWORK=off go build -o $(TOOLS)/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TOOLS)/govulncheck: scripts/tools/vuln/go.mod
	@mkdir -p $(TOOLS)
	cd scripts/tools/vuln && GOWORK=off go build -o $(TOOLS)/govulncheck golang.org/x/vuln/cmd/govulncheck

.PHONY: vuln
vuln: $(TOOLS)/govulncheck ## modules are as in go.sum, govulncheck finds nothing; GOVULNDB names a copy of its database
	@scripts/vuln.sh $(MODULES)

.PHONY: reproducible
reproducible: ## two builds of the committed state give the same programs
	@scripts/reproducible.sh

.PHONY: generate
generate: tools ## protos, OpenAPI and SQL access code
	@scripts/generate.sh

.PHONY: fresh
fresh: generate ## fail when committed generated code differs from what its sources give
	@git diff --exit-code --stat -- proto/gen 'services/*/internal/*/db' || { echo 'generated code is stale: run make generate and commit'; exit 1; }

.PHONY: lint
lint: $(TOOLS)/buf $(TOOLS)/golangci-lint ## golangci-lint over every module, buf lint over the protos
	@$(TOOLS)/buf lint
	@for m in $(filter-out proto/gen,$(MODULES)); do echo "lint $$m"; (cd $$m && $(TOOLS)/golangci-lint run --config $(CURDIR)/.golangci.yaml ./...); done

.PHONY: tidy
tidy: ## go mod tidy in every module, go work sync
	@for m in $(MODULES); do (cd $$m && GOWORK=off go mod tidy); done
	go work sync

.PHONY: stats
stats: ## sizes of files, functions and packages
	@scripts/stats.sh
