#!/bin/sh
# Makes an archive of the built program for any Linux: deploy/tarball.sh PROGRAM FOLDER
#
# `deploy/tarball.sh $(deploy/static.sh) .` needs no libraries on the machine. The archive has the program, man pages, completions,
# units and the licence, and is unpacked into /usr: tar -xzf sekisho-….tar.gz -C /usr --strip-components=1. Its digest is beside it.
set -eu
program=$1 to=$2
. "$(dirname "$0")/packaging.sh"
name=sekisho-$version-$(uname -m)-linux
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lay_out "$work" usr/share/zsh/site-functions usr/share/fish/vendor_completions.d usr/share/licenses/sekisho/LICENSE
if ldd "$program" 2>/dev/null | grep -q '=>'; then
    echo "$program needs shared libraries, so the archive suits machines like this one only; deploy/static.sh builds one without" >&2
fi
mv "$work/usr" "$work/$name"
tar --directory "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --create "$name" |
    gzip "-${LEVEL:-9}n" >"$to/$name.tar.gz"
(cd "$to" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$to/$name.tar.gz"
