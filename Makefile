# Every command anyone needs. `make` alone prints them; the text after ## is what it prints.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

export PATH := $(CURDIR)/.bin:$(PATH)
# Always our own workspace, whatever the caller's shell sets; what is built without it sets GOWORK=off.
unexport GOWORK
# A clone without its history, or one owned by somebody else, builds all the same.
export GOFLAGS := $(filter-out -buildvcs=%,$(GOFLAGS)) -buildvcs=false

# Tools are built from source, once for each version. Their stamp carries the version, so that a new one here rebuilds.
BUF           := .bin/.stamp/buf-1.75.0
GEN_GO        := .bin/.stamp/protoc-gen-go-1.36.12
GEN_GRPC      := .bin/.stamp/protoc-gen-go-grpc-1.6.2
GOLANGCI_LINT := .bin/.stamp/golangci-lint-2.15.0

$(BUF):           TOOL = github.com/bufbuild/buf/cmd/buf
$(GEN_GO):        TOOL = google.golang.org/protobuf/cmd/protoc-gen-go
$(GEN_GRPC):      TOOL = google.golang.org/grpc/cmd/protoc-gen-go-grpc
$(GOLANGCI_LINT): TOOL = github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.bin/.stamp/%:
	@version=$(lastword $(subst -, ,$*)); echo "building $(TOOL) $$version into .bin (once)" >&2
	@mkdir -p $(@D)
	@GOBIN=$(CURDIR)/.bin GOWORK=off go install $(TOOL)@v$(lastword $(subst -, ,$*))
	@touch $@

MODULES := proto pkg services
# Who has figures and soaks of their own: `make bench-safeguard`, `make soak-safeguard`.
BENCHED := safeguard ingest webhook email trigger config provision journey
SOAKED  := safeguard trigger webhook email config queue provision hostile journey
BENCH_PROGRAM = services/systemtest/$1/bench
SOAK_PROGRAM  = $(firstword $(wildcard services/systemtest/$1/soak services/systemtest/$1))

SERVERS_TOOL := deploy/servers/servers
# What a recipe starts ends with it, however it ends: every server started meanwhile is on this list.
REAPED = list=$$(mktemp); export TOLLGATE_TEST_STARTED=$$list; \
	trap '$(SERVERS_TOOL) reap "$$list"' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM;

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@printf '  make %-18s %s\n' $(foreach s,$(BENCHED),bench-$s 'the figures of $s alone') \
		$(foreach s,$(SOAKED),soak-$s 'the soak of $s alone')

# ---- first commands

.PHONY: try
try: ## the whole product in one process, with sample traffic and a receiver; ONCE=1 ends after the first webhook, DATA=DIR keeps its data
	@go build -v -o .bin/tollgate ./services/tollgate/cmd/tollgate
	@exec .bin/tollgate try $(if $(filter 1,$(ONCE)),--once) $(if $(DATA),--data '$(DATA)')

# Three tiers, each with all before it: unit while you write, check before you push, test before it lands. The long runs
# are soak's. TOLLGATE_TEST_HISTORIES sets how many random histories the simulations make: short, test or long.
PACKAGES = $(shell go list ./proto/... ./pkg/... ./services/...)
# Whole journeys through several services.
JOURNEYS = %/scenario %/systemtest/docs %/services/tollgate/cli
# Packages that start no goroutine have nothing to race.
SEQUENTIAL = %/spend %/expr %/scope %/reason %/profile %/display %/wire %/fault %/imports %/manifest %/shape %/model %/account
# Packages whose tests run programs: the race detector does not see into these.
RUNNING = %/systemtest/docs %/systemtest/compose

# Tests mostly wait, for a broker or a first repeat: more of them, and of packages, run side by side than there are cores.
WAITING = -p 4 -parallel 8
# What only debuggers read: a third of the time that it takes to link a test.
LINKED = -ldflags=-w

.PHONY: unit
unit: ## no servers, short histories: under a minute when built before
	@TOLLGATE_TEST_HISTORIES=short go test -short $(WAITING) $(LINKED) -timeout 5m $(filter-out $(JOURNEYS),$(PACKAGES)) | $(QUIET)

.PHONY: check
check: lint ## unit, lint, generated code, and the race detector on packages with goroutines: no servers, under 4 minutes
	@$(SERVERS_TOOL) need cc
	@$(MAKE) unit
	@echo "== race detector" >&2
	@TOLLGATE_TEST_HISTORIES=short go test -race -short $(WAITING) $(LINKED) -timeout 10m $(filter-out $(JOURNEYS) $(SEQUENTIAL),$(PACKAGES)) | $(QUIET)

.PHONY: test
test: ## everything, on real servers: unit tests, contract suites, simulations, whole journeys
	@$(REAPED) $(SERVERS_TOOL) up; echo "== tests on real servers" >&2; \
	TOLLGATE_REAL=1 TOLLGATE_TEST_HISTORIES=test go test -count=1 -p 4 $(LINKED) -timeout 15m work

.PHONY: test-clients
test-clients: ## what needs other languages or servers than test does: Java clients against real Kafka and the embedded one, verifiers from npm and PyPI, Postfix, Flask, a collector of OpenTelemetry; and what waits long
	@$(REAPED) $(SERVERS_TOOL) need kafka javac npm python postfix; $(SERVERS_TOOL) up; \
	TOLLGATE_REAL=1 TOLLGATE_TEST_CLIENTS=1 go test -count=1 $(LINKED) -timeout 15m -run 'Clients?_|JavaClient|GoesAway' ./pkg/stream/... ./services/webhook ./services/email ./services/provision ./services/tollgate/allinone ./services/systemtest/scenario ./services/systemtest/docs | $(QUIET)

# Packages without tests are no news.
QUIET = { grep -v 'no test files' || true; }

.PHONY: install
install: ## the binaries, into GOBIN
	@go install $(addprefix ./,$(wildcard services/*/cmd/*))

# ---- images

IMAGED   := config ingest safeguard trigger webhook email provision tollgate
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

# What lies in an image: one static binary for Linux, its configuration, and folders for what it keeps: a volume takes over
# the owner of the folder that it is mounted on. grpcnotrace leaves out a page for debugging that no service serves: with it
# come templates, for which the linker keeps every method there is, 12 MB of them.
.PHONY: $(IMAGED:%=.bin/images/%)
$(IMAGED:%=.bin/images/%): .bin/images/%:
	@mkdir -p $(addprefix $@/,data $(if $(filter tollgate,$*),$(addprefix keys/,operator service hashes keyset database)))
	@GOOS=linux CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -ldflags='-s -w' -o $@/service ./$(wildcard services/$*/cmd/*)
	@[ ! -e deploy/config/$*.yaml ] || cp deploy/config/$*.yaml $@/service.yaml

.PHONY: images
images: $(IMAGED:%=.bin/images/%) ## an image of each service, tollgate/<service>, from binaries built here; VERSION=1.2.3
	@for service in $(IMAGED); do \
		docker build -q -f deploy/Dockerfile --target prebuilt --build-arg SERVICE=$$service \
			--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t tollgate/$$service:$(VERSION) .bin/images/$$service >/dev/null; \
		docker image inspect -f "tollgate/$$service:$(VERSION) {{.Size}} bytes" tollgate/$$service:$(VERSION); \
	done

# ---- the product in containers

# PROFILES are those of docker-compose.yml; what a plain `make up` shows is the first webhook.
PROFILES ?= demo
POSTGRES ?=
KEYS_OUT := tollgate-data/compose
export VERSION POSTGRES
COMPOSE = docker compose $(addprefix --profile ,$(PROFILES) $(if $(POSTGRES),postgres))

.PHONY: need-compose
need-compose:
	@docker compose version >/dev/null 2>&1 || { echo "this needs Docker and its plugin compose, version 2.24 or newer; make try needs neither" >&2; exit 1; }

.PHONY: up
up: need-compose images ## the product with docker compose, with sample traffic; PROFILES='demo observability' adds Prometheus and Grafana, POSTGRES=1 PostgreSQL
	@$(COMPOSE) up -d --wait --wait-timeout 300
	@mkdir -p -m 700 $(KEYS_OUT)
	@docker cp "$$($(COMPOSE) ps -aq keys):/keys/operator/api-key" $(KEYS_OUT)/api-key
	@echo; $(COMPOSE) ps --format 'table {{.Service}}\t{{.Status}}\t{{.Ports}}'
	@printf '%s\n' '' 'The key of the command line is in $(CURDIR)/$(KEYS_OUT)/api-key. E-mail arrives at http://127.0.0.1:8025.' 'To follow the sample traffic, and to look around:' \
		'' $(if $(filter demo,$(PROFILES)),'  docker compose logs -f demo') '  make install; export PATH=$$(go env GOPATH)/bin:$$PATH' \
		'  export TOLLGATE_API_KEY=$$(cat $(CURDIR)/$(KEYS_OUT)/api-key)' \
		'  export TOLLGATE_KAFKA_BROKERS=127.0.0.1:19192 TOLLGATE_REDIS_ADDRESS=127.0.0.1:16479' '  tollgate check --partitions 8 --single-node'

.PHONY: test-compose
test-compose: ## the product's containers on real servers, by Docker: from an empty machine to the first verified webhook, then one of each consumer is killed
	@$(SERVERS_TOOL) need docker
	@$(call RUN_PROGRAM,services/systemtest/compose/run)

.PHONY: down
down: need-compose ## stop what up started; its data stays, CLEAN=1 removes it
	@docker compose --profile '*' down $(if $(filter 1,$(CLEAN)),--volumes)
	@$(if $(filter 1,$(CLEAN)),rm -rf $(KEYS_OUT))

# ---- parts of test and check

.PHONY: lint
lint: $(GOLANGCI_LINT) $(BUF) proto-current vet ## golangci-lint, go vet, generated code, buf lint, and protobuf changes that break the baseline
	@golangci-lint run $(MODULES:%=./%/...) >&2
	@$(PRINT_IMPORTS)
	@$(LINT_PROTO)

# Each module also by itself: a program that imports one sees no workspace.
.PHONY: vet
vet:
	@go vet work
	@for module in $(MODULES); do (cd $$module && GOWORK=off go build ./... && GOWORK=off go vet ./...); done

.PHONY: fmt
fmt: $(BUF) ## format Go and protobuf files in place
	@gofmt -w $(MODULES)
	@cd proto && buf format $(OURS) -w

# ---- real servers

.PHONY: servers-up
servers-up: ## real Kafka, Redis and PostgreSQL on loopback: SERVERS=local or docker; those of TOLLGATE_TEST_KAFKA, _REDIS and _POSTGRES are used as they are
	@$(SERVERS_TOOL) up

.PHONY: servers-down
servers-down: ## stop what servers-up started
	@$(SERVERS_TOOL) down

# ---- figures and soaks: standard output carries one JSON object a line, nothing else

.PHONY: bench
bench: $(BENCHED:%=bench-%) ## every figure, each on real servers of its own

.PHONY: soak
soak: soak-simulations soak-race $(SOAKED:%=soak-%) ## long runs of faults: processes and servers killed at random, nothing lost or doubled; FOR=10m, SEED=n

.PHONY: $(BENCHED:%=bench-%) $(SOAKED:%=soak-%)
$(BENCHED:%=bench-%): bench-%:
	@$(call RUN_PROGRAM,$(call BENCH_PROGRAM,$*))
$(SOAKED:%=soak-%): soak-%:
	@$(call RUN_PROGRAM,$(call SOAK_PROGRAM,$*))

.PHONY: soak-simulations soak-race
soak-simulations: ## random histories of the simulations, others each time: two minutes for each test, or TOLLGATE_TEST_FOR
	@$(REAPED) $(SERVERS_TOOL) up; \
	TOLLGATE_REAL=1 TOLLGATE_TEST_HISTORIES=long go test -count=1 -p 4 $(LINKED) -timeout 30m -run Simulation work | $(QUIET)

soak-race: ## the tests of all packages that start goroutines, under the race detector on real servers
	@$(REAPED) $(SERVERS_TOOL) need cc; $(SERVERS_TOOL) up; \
	TOLLGATE_REAL=1 TOLLGATE_TEST_HISTORIES=test go test -race -count=1 -p 4 $(LINKED) -timeout 30m $(filter-out $(SEQUENTIAL) $(RUNNING),$(PACKAGES)) | $(QUIET)

RUN_PROGRAM = $(SERVERS_TOOL) need kafka redis postgres >&2; go build -o .bin/$@ ./$1 >&2; $(REAPED) .bin/$@

# ---- documents

.PHONY: docs
docs: ## write the reference pages of deploy/docs anew, from the code
	@go run ./services/systemtest/docs/generate

# ---- protobuf

# Our files import google/type/money and the like; buf finds them here, printed out of the Go packages that go.mod names.
PRINT_IMPORTS = (cd proto && GOWORK=off go run ./cmd/printimports .deps)
# buf lints and generates the files under tollgate only; what they import is not ours.
OURS = --path tollgate
LINT_PROTO = (cd proto && buf format $(OURS) --diff --exit-code >&2 && buf lint $(OURS) && \
	if [ -e baseline.binpb ]; then buf breaking $(OURS) --against baseline.binpb; fi)

.PHONY: proto
proto: $(BUF) $(GEN_GO) $(GEN_GRPC) ## generate Go from proto/tollgate, then lint it and check it against the committed baseline
	@$(PRINT_IMPORTS)
	@cd proto && buf format $(OURS) -w
	@new=$$(mktemp -d proto/.gen.XXXXXX); trap 'rm -rf "$$new"' EXIT; \
	(cd proto && buf generate $(OURS) -o "$${new#proto/}"); \
	rm -rf proto/gen; mv "$$new/gen" proto/gen
	@$(LINT_PROTO)

.PHONY: proto-check
proto-check: proto-current ## fail where generated Go is not current, or proto/tollgate breaks lint or its baseline
	@$(LINT_PROTO)

.PHONY: proto-current
proto-current: $(BUF) $(GEN_GO) $(GEN_GRPC)
	@$(PRINT_IMPORTS)
	@new=$$(mktemp -d proto/.gen.XXXXXX); trap 'rm -rf "$$new"' EXIT; \
	(cd proto && buf generate $(OURS) -o "$${new#proto/}"); \
	diff -r -q "$$new/gen" proto/gen >&2 || { echo "proto/gen is not what generation yields now: run make proto and commit it" >&2; exit 1; }

.PHONY: proto-release
proto-release: $(BUF) ## move the baseline of breaking changes to what proto/tollgate is now
	@$(PRINT_IMPORTS)
	@cd proto && buf build $(OURS) --exclude-source-info -o baseline.binpb
	@echo "proto/baseline.binpb is what proto/tollgate is now: commit it with the release" >&2
