# The two commands: `make up` shows the main job, `make test` runs every test. Both install missing packages.

export CARGO_TARGET_DIR ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/sekisho/target
ARGS ?=

.PHONY: up test docs lab setup

up: setup
	@cargo build --package sekisho --package payments
	@exec "$(CARGO_TARGET_DIR)/debug/sekisho" dev $(ARGS)

# Tests of processes wait more than they compute.
test: export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
test:
	@.ci/test

# The site with search, in target/book. The first time it builds mdBook.
docs:
	@deploy/setup.sh docs
	@"$${XDG_CACHE_HOME:-$$HOME/.cache}/sekisho/mdbook/bin/mdbook" build
	@echo "open target/book/index.html"

# Real agents in virtual machines with measured boot. It needs an x86-64 machine and 250 MB for packages.
lab:
	@deploy/setup.sh lab
	@cargo run --quiet --package xtask -- lab vm $(ARGS)

setup:
	@deploy/setup.sh
