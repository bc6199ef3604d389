#!/bin/sh
# Makes an OCI image of the built program, without a network and without a container engine: deploy/oci.sh PROGRAM FOLDER
#
# FOLDER/sekisho.oci.tar holds the program, the libraries that it needs and a user of its own, and nothing else: no shell. The same
# program gives the same image. `podman load -i sekisho.oci.tar`, `docker load` (from 25) and `skopeo copy oci-archive:…` read it.
set -eu
program=$1 to=$2
version=$("$program" --version | head -1 | cut -d' ' -f2)
case $(uname -m) in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; *) architecture=$(uname -m) ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root image=$work/image
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/var/lib/sekisho" "$root/run" "$root/tmp" "$image/blobs/sha256"
install -m 0755 "$program" "$root/usr/bin/sekisho"
if command -v strip >/dev/null; then strip --strip-unneeded "$root/usr/bin/sekisho"; fi
# Libraries at the paths where the loader looks; `ldd` prints none for a static program.
for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
    install -D -m 0755 "$(readlink -f "$library")" "$root$library"
done
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0::/:/\nsekisho:x:65532:65532::/var/lib/sekisho:/\n' >"$root/etc/passwd"
printf 'root:x:0:\nsekisho:x:65532:\n' >"$root/etc/group"
find "$root" -type d -exec chmod 0755 {} +
chmod 1777 "$root/tmp"

put() { # put FILE: moves it among the blobs; prints its digest
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    mv "$1" "$image/blobs/sha256/$digest"
    echo "$digest"
}
size() { wc -c <"$image/blobs/sha256/$1" | tr -d ' '; }

tar --directory "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --exclude=./var/lib/sekisho --exclude=./run --create --file "$work/layer" .
# The folders of the program's state are its user's.
tar --directory "$root" --mtime=@0 --owner=65532 --group=65532 --numeric-owner --no-recursion --append --file "$work/layer" ./var/lib/sekisho ./run
unpacked=$(sha256sum "$work/layer" | cut -d' ' -f1)
gzip -9n "$work/layer"
layer=$(put "$work/layer.gz")
printf '{"architecture":"%s","os":"linux","config":{"User":"65532:65532","Entrypoint":["/usr/bin/sekisho"],"WorkingDir":"/var/lib/sekisho","Labels":{"org.opencontainers.image.title":"sekisho","org.opencontainers.image.version":"%s","org.opencontainers.image.licenses":"Apache-2.0"}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created_by":"deploy/oci.sh"}]}' \
    "$architecture" "$version" "$unpacked" >"$work/config"
config=$(put "$work/config")
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:%s","size":%s}]}' \
    "$config" "$(size "$config")" "$layer" "$(size "$layer")" >"$work/manifest"
manifest=$(put "$work/manifest")
printf '{"imageLayoutVersion":"1.0.0"}' >"$image/oci-layout"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"%s","io.containerd.image.name":"localhost/sekisho:%s"}}]}' \
    "$manifest" "$(size "$manifest")" "$version" "$version" >"$image/index.json"
tar --directory "$image" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --create --file "$to/sekisho.oci.tar" .
echo "$to/sekisho.oci.tar"
