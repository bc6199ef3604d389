#!/bin/sh
# Makes a Debian package of the built program: deploy/deb.sh PROGRAM FOLDER
#
# With units, man pages and completions, which are made by the program itself. Nothing is started on installation.
set -eu
program=$1 to=$2 here=$(dirname "$0")
version=$("$program" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"
install -D -m 0755 "$program" "$root/usr/bin/sekisho"
if command -v strip >/dev/null; then strip --strip-unneeded "$root/usr/bin/sekisho"; fi
for unit in "$here"/systemd/*.service; do
    install -D -m 0644 "$unit" "$root/usr/lib/systemd/system/$(basename "$unit")"
done
mkdir -p "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
    "$root/usr/share/fish/vendor_completions.d" "$root/etc/sekisho" "$root/DEBIAN"
"$program" man "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
"$program" completions bash >"$root/usr/share/bash-completion/completions/sekisho"
"$program" completions zsh >"$root/usr/share/zsh/vendor-completions/_sekisho"
"$program" completions fish >"$root/usr/share/fish/vendor_completions.d/sekisho.fish"
install -D -m 0644 "$here/../LICENSE" "$root/usr/share/doc/sekisho/copyright"
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
