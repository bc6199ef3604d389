#!/bin/sh
# Installs what building needs and, with `test`, what testing needs, by Debian package name, and nothing that is
# present already.
set -eu

missing=""
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need cc gcc
need ld binutils
need openssl openssl
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/sekisho"
if [ "${1:-}" = test ]; then
    need curl curl
    need h2load nghttp2-client
    # The system's own: tests run it as other users, to whom one in a home folder may be closed.
    [ -x /usr/bin/python3 ] || missing="$missing python3"
    need ip iproute2
    [ -x "$cache/python/bin/python" ] || python3 -c 'import ensurepip' >/dev/null 2>&1 || missing="$missing python3-venv"
fi

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

# Other people's clients of the Workload API. Without a package index their test is skipped, and says so.
if [ "${1:-}" = test ] && ! "$cache/python/bin/python" -c 'import spiffe' >/dev/null 2>&1; then
    mkdir -p "$cache"
    { python3 -m venv "$cache/python" && "$cache/python/bin/pip" install --quiet --disable-pip-version-check 'spiffe==0.3.2'; } >&2 ||
        { rm -rf "$cache/python"; echo "py-spiffe could not be installed; its test will be skipped" >&2; }
fi
