# The two commands: `make up` shows the main job, `make test` runs every test. Both install missing packages.

export CARGO_TARGET_DIR ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/sekisho/target
ARGS ?=

.PHONY: up test docs mdbook setup

up: setup
	@cargo build --package sekisho --package payments
	@exec "$(CARGO_TARGET_DIR)/debug/sekisho" dev $(ARGS)

# Tests of processes wait more than they compute.
test: export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
test:
	@.ci/test

# The site, in target/book. mdBook is installed only when asked for: `make mdbook`.
MDBOOK := 0.5.2
docs:
	@command -v mdbook >/dev/null || { echo "mdbook is not installed: run \`make mdbook\`" >&2; exit 1; }
	mdbook build

mdbook:
	cargo install mdbook --version $(MDBOOK) --locked

setup:
	@deploy/setup.sh
