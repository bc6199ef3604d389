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
# The libraries that the program is linked with, and the glibc whose symbols it uses; none for a static one.
depends=""
libraries=$(ldd "$program" 2>/dev/null || true)
case $libraries in *libc.so.6*)
    glibc=$(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 | cut -d_ -f2)
    depends="libc6 (>= $glibc)"
    ;;
esac
case $libraries in *libgcc_s.so.1*) depends="$depends, libgcc-s1" ;; esac
mkdir -p "$root/etc/sekisho" "$root/DEBIAN"
lay_out "$root" usr/share/zsh/vendor-completions usr/share/fish/vendor_completions.d usr/share/doc/sekisho/copyright
cat >"$root/DEBIAN/control" <<CONTROL
Package: sekisho
Version: $version
Architecture: $architecture
Maintainer: Sekisho developers <dev@sekisho.invalid>
Section: admin
Priority: optional
${depends:+Depends: $depends
}Description: Zero-trust identity, policy and proof for services on your own hosts
 Attests nodes and processes, gives them SPIFFE identities that live for minutes,
 decides each request by Rego policy, and keeps a Merkle log that anyone verifies.
CONTROL
dpkg-deb --root-owner-group --build "$root" "$to/sekisho_${version}_$architecture.deb"
