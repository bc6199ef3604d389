#!/bin/sh
# Makes an RPM package of the built program: deploy/rpm.sh PROGRAM FOLDER
#
# With units, man pages and completions. It has no scripts: nothing is started on installation. On Debian, the package `rpm` has
# rpmbuild.
set -eu
program=$1 to=$2
. "$(dirname "$0")/packaging.sh"
machine=$(uname -m)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tree/etc/sekisho"
lay_out "$work/tree" usr/share/zsh/site-functions usr/share/fish/vendor_completions.d usr/share/licenses/sekisho/LICENSE
cat >"$work/sekisho.spec" <<SPEC
Name: sekisho
Version: $version
Release: 1
Summary: Zero-trust identity, policy and proof for services on your own hosts
License: Apache-2.0
URL: https://github.com/sekisho/sekisho

%description
Attests nodes and processes, gives them SPIFFE identities that live for minutes,
decides each request by Rego policy, and keeps a Merkle log that anyone verifies.

%install
cp -a "$work/tree/." %{buildroot}/

%files
%defattr(-,root,root)
/usr/bin/sekisho
/usr/lib/systemd/system/sekisho-*.service
/usr/share/man/man1/sekisho*.1.gz
/usr/share/bash-completion/completions/sekisho
/usr/share/zsh/site-functions/_sekisho
/usr/share/fish/vendor_completions.d/sekisho.fish
%license /usr/share/licenses/sekisho/LICENSE
%dir /etc/sekisho
SPEC
# As it was laid out: stripped and compressed already, without links by build ID. The time of the build is SOURCE_DATE_EPOCH.
rpmbuild -bb --quiet --target "$machine-linux" \
    --define "_topdir $work/rpm" --define "_rpmdir $to" --define '_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm' \
    --define 'debug_package %{nil}' --define '__os_install_post %{nil}' --define '_build_id_links none' \
    --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' --define '_buildhost localhost' \
    --define "_binary_payload ${PAYLOAD:-w3.zstdio}" "$work/sekisho.spec" >&2
echo "$to/sekisho-$version-1.$machine.rpm"
