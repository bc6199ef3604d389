# The two commands: `make up` shows the main job, `make test` runs every test. Both set up what is missing.

export CARGO_TARGET_DIR ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/sekisho/target
ARGS ?=

.PHONY: up test setup

up: setup
	@cargo build --package sekisho --package payments
	@exec "$(CARGO_TARGET_DIR)/debug/sekisho" dev $(ARGS)

# Tests of processes wait more than they compute.
test: export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
test:
	@deploy/setup.sh test
	cargo test --workspace --no-fail-fast

setup:
	@deploy/setup.sh
