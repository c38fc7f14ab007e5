# Every target is a plain go command or a few; run `make` for the list.
# Variables: TIME=30s (torture, fuzz), UPDATE=1 (layout), ARGS=... (bench).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

STATICCHECK := go tool -modfile=tools.mod staticcheck
CROSS       := linux/arm64 darwin/arm64 windows/amd64
NESTED      := $(patsubst %/go.mod,%,$(shell find . -mindepth 2 -name go.mod -not -path '*/testdata/*'))
LAYOUTS     := $(sort $(dir $(shell find . -name layout_test.go -not -path "*/testdata/*")))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: check
check: lint ## what must hold before a change is sent: lint, then the core tests
	go test ./...

.PHONY: lint
lint: ## gofmt, vet (also with crash ticks and for other systems), staticcheck
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "gofmt would change:"; echo "$$files"; exit 1; }
	go vet ./...
	go vet -tags crash ./...
	go vet -tags poison ./internal/pages
	@for p in $(CROSS); do echo "go vet ./... # $$p"; GOOS=$${p%/*} GOARCH=$${p#*/} go vet ./...; done
	GOOS=freebsd GOARCH=amd64 go build ./... # the files of darwin
	$(STATICCHECK) ./...
	$(STATICCHECK) -tags crash ./...

.PHONY: test
test: ## the core tests, then those of the nested modules
	go test ./...
	@$(MAKE) --no-print-directory nested

.PHONY: nested
nested: ## vet and test the nested modules (bench, lintest, commands with dependencies)
	@for d in $(NESTED); do echo "go test ./... # in $$d"; (cd $$d && go vet ./... && go test ./...); done

.PHONY: race
race: ## every test under the race detector (structures run over heap segments)
	go test -race -timeout 20m ./...

.PHONY: crash
crash: ## kill at every tick, then kill the recovery at every tick; prints the ticks visited
	@go test -tags crash -run Crash -count=1 -v ./... | awk ' \
	  /^=== |^ *--- PASS|^PASS$$|no test files|no tests to run/ {next} \
	  {print} match($$0, /[0-9]+ ticks/) {n += substr($$0, RSTART, RLENGTH)} END {print n+0, "ticks in all"}'

.PHONY: poison
poison: ## the tests with free blocks filled with a pattern, and looked at before reuse
	go test -tags poison ./internal/pages ./slab ./value ./array ./hashmap

.PHONY: torture
torture: TIME ?= 60s
torture: ## random SIGKILL storms over all structures for TIME (60s), hunts, histories, and the long model tests
	SHMKIT_TORTURE=$(TIME) go test -run 'Torture|Hunt|Model' -count=1 -timeout 0 -v ./...
	SHMKIT_TORTURE=$(TIME) go test -tags crash -run Crash_Map_Storm -count=1 -timeout 0 -v ./hashmap
	cd hashmap/lintest && SHMKIT_TORTURE=$(TIME) go test -tags crash -run Torture -count=1 -timeout 0 -v ./...

.PHONY: fuzz
fuzz: TIME ?= 30s
fuzz: ## every fuzz target for TIME each (30s)
	@for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(TIME) $$p; \
	  done; \
	done

.PHONY: bench
bench: ## our structures beside the in-process ones, up to 1 000 000 keys, then a map that grows (ARGS=-h for the knobs)
	cd bench && go run . $(or $(ARGS),-full)
	$(if $(ARGS),,cd bench && go run . -grow 4000000)

.PHONY: layout
layout: ## compare the stored structs with docs/LAYOUT.md (UPDATE=1 rewrites it)
	go test -run Layout -count=1 $(if $(UPDATE),-p 1 $(LAYOUTS) -args -update,./...)

.PHONY: models
models: ## model-check the protocols in docs/models (needs spin and gcc)
	docs/models/run.sh
