# Every command anyone needs. `make` alone prints them; the text after ## is what it prints.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

export PATH := $(CURDIR)/.bin:$(PATH)
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

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- protobuf

# Our files import google/type/money and the like; buf finds them here, printed out of the Go packages that go.mod names.
PRINT_IMPORTS = (cd proto && GOWORK=off go run ./cmd/printimports .deps)
# buf judges and generates the files under tollgate only; what they import is not ours.
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
proto-check: $(BUF) $(GEN_GO) $(GEN_GRPC) ## fail where generated Go is not current, or proto/tollgate breaks lint or its baseline
	@$(PRINT_IMPORTS)
	@new=$$(mktemp -d proto/.gen.XXXXXX); trap 'rm -rf "$$new"' EXIT; \
	(cd proto && buf generate $(OURS) -o "$${new#proto/}"); \
	diff -r -q "$$new/gen" proto/gen >&2 || { echo "proto/gen is not what generation yields now: run make proto and commit it" >&2; exit 1; }
	@$(LINT_PROTO)

.PHONY: proto-release
proto-release: $(BUF) ## move the baseline that breaking changes are judged by to what proto/tollgate is now
	@$(PRINT_IMPORTS)
	@cd proto && buf build $(OURS) --exclude-source-info -o baseline.binpb
	@echo "proto/baseline.binpb is what proto/tollgate is now: commit it with the release" >&2
