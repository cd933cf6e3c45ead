# Skywire. `make help` lists the targets; `.ci/run` is what the CI runs.

GO    ?= go
BIN   := bin
# The programs are pure Go: one static binary per platform, the same bytes from the same source.
export CGO_ENABLED := 0
BUILD := $(GO) build -trimpath

# Packages whose goroutines share memory: the race detector runs on these (it needs cgo and is slow on two cores).
RACE  := ./dataplane/... ./controlplane/... ./apps/...
# How long `make fuzz` runs each Fuzz function.
FUZZTIME ?= 30s
# Platforms that must build, tests included.
CROSS := linux/amd64 linux/arm64 linux/arm linux/riscv64 darwin/arm64
# The linter and its 200 modules stand in a module of their own; see docs/decisions.md.
GOLANGCI ?= $(GO) tool -modfile=.ci/tools/go.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: help build demo test race e2e fuzz bench generate generate-check lint vet cross check clean

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r t d; do printf '  %-16s %s\n' "$$t" "$$d"; done

build: ## build the programs into bin/
	$(BUILD) -o $(BIN)/ ./cmd/...

demo: build ## a private network of five visors assembles itself and moves files (root: behind NATs in network namespaces; else: on loopback)
	@$(GO) run ./bench/demo -bin $(BIN)

test: ## run the unit tests (root: also those that need network namespaces)
	$(GO) test ./...

race: ## run the tests of the concurrent packages under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race $(RACE)

e2e: build ## run whole visors against each other in network namespaces (needs root)
	$(GO) test -count=1 -tags e2e -timeout 15m -p 1 -parallel 5 ./bench/e2e ./bench/demo

fuzz: ## run every Fuzz function for FUZZTIME (30s) each
	.ci/fuzz $(FUZZTIME)

bench: ## run the micro benchmarks; whole-system figures: bin/skybench list
	$(GO) test -run '^$$' -bench . -benchmem ./...

generate: ## regenerate what is generated from code: the command reference and the like
	$(GO) generate ./...

generate-check: ## delete what is generated, generate it anew, compare
	.ci/generate-check

lint: ## check formatting, import rules and the linters of .golangci.yml
	@bad=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$bad" ]; then echo "not formatted; run gofmt -w on:"; echo "$$bad"; exit 1; fi
	$(GOLANGCI) run ./...

vet: ## go vet for Linux and Darwin, with every build tag
	GOOS=linux $(GO) vet ./...
	GOOS=linux $(GO) vet -tags e2e,dpdebug ./...
	GOOS=darwin GOARCH=arm64 $(GO) vet ./...

cross: ## build the programs and type-check the tests for every platform
	@set -e; for p in $(CROSS); do echo "cross $$p"; \
	  GOOS=$${p%/*} GOARCH=$${p#*/} GOARM=7 $(BUILD) -o /dev/null ./cmd/...; \
	  GOOS=$${p%/*} GOARCH=$${p#*/} GOARM=7 $(GO) vet ./...; done

check: lint vet test race generate-check cross ## everything the CI runs that needs no root

clean: ## remove what the other targets made
	rm -rf $(BIN)
