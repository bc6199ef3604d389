#!/bin/sh
# Installs what building and testing need, by Debian package name, and nothing that is present already.
set -eu

missing=""
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need cc gcc
need ld binutils
need openssl openssl
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"

if [ -n "$missing" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    echo "installing:$missing" >&2
    # shellcheck disable=SC2086
    $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >&2
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "no Rust toolchain: install Rust 1.95 or later (https://rustup.rs), then run this again" >&2
    exit 1
fi
