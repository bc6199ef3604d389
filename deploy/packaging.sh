# What the packages have in common. Sourced by deploy/deb.sh, deploy/rpm.sh and deploy/tarball.sh, which set `program`.
#
# The same program and the same SOURCE_DATE_EPOCH (by default the last commit's time) give the same package.
here=$(dirname "$0")
version=$("$program" --version | head -1 | cut -d' ' -f2)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

# lay_out ROOT ZSH FISH LICENCE: puts below ROOT the program, the man pages and completions, which it makes itself, the
# units and the licence. Distributions differ in the folders of the completions and in the licence's path.
lay_out() {
    root=$1 zsh=$2 fish=$3 licence=$4
    install -D -m 0755 "$program" "$root/usr/bin/sekisho"
    if command -v strip >/dev/null; then strip --strip-unneeded "$root/usr/bin/sekisho"; fi
    for unit in "$here"/systemd/*.service; do
        install -D -m 0644 "$unit" "$root/usr/lib/systemd/system/$(basename "$unit")"
    done
    mkdir -p "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" "$root/$zsh" "$root/$fish"
    "$program" man "$root/usr/share/man/man1"
    gzip -9n "$root"/usr/share/man/man1/*.1
    "$program" completions bash >"$root/usr/share/bash-completion/completions/sekisho"
    "$program" completions zsh >"$root/$zsh/_sekisho"
    "$program" completions fish >"$root/$fish/sekisho.fish"
    install -D -m 0644 "$here/../LICENSE" "$root/$licence"
    # Whatever this user's umask is.
    chmod -R u=rwX,go=rX "$root"
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}
