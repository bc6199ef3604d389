#!/bin/sh
# Builds the program without shared libraries, and prints where it is: deploy/static.sh
#
# glibc is linked into it (Debian: libc6-dev has it). Names of hosts are looked up by /etc/hosts and DNS; further sources of
# /etc/nsswitch.conf need glibc's shared libraries.
set -eu
cd "$(dirname "$0")/.."
target=$(uname -m)-unknown-linux-gnu
folder=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" cargo build --locked --profile dist --package sekisho --target "$target" >&2
echo "$folder/$target/dist/sekisho"
