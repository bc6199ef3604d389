#!/bin/sh
# Makes a Debian package of the built program: deploy/deb.sh PROGRAM FOLDER
#
# With units, man pages and completions. Nothing is started on installation.
set -eu
program=$1 to=$2
. "$(dirname "$0")/packaging.sh"
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc/sekisho" "$root/DEBIAN"
lay_out "$root" usr/share/zsh/vendor-completions usr/share/fish/vendor_completions.d usr/share/doc/sekisho/copyright
cat >"$root/DEBIAN/control" <<CONTROL
Package: sekisho
Version: $version
Architecture: $architecture
Maintainer: Sekisho developers <dev@sekisho.invalid>
Section: admin
Priority: optional
Depends: libc6
Description: Zero-trust identity, policy and proof for services on your own hosts
 Attests nodes and processes, gives them SPIFFE identities that live for minutes,
 decides each request by Rego policy, and keeps a Merkle log that anyone verifies.
CONTROL
dpkg-deb --root-owner-group --build "$root" "$to/sekisho_${version}_$architecture.deb"
