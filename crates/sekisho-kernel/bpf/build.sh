#!/bin/sh
# Compiles the programs. The object is checked in, so only who changes them needs clang (14, for the same bytes).
set -eu
cd "$(dirname "$0")"
out=${1:-network.bpf.o}
# Debian names programs of one version with it.
clang=$(command -v clang-14 || command -v clang)
strip=$(command -v llvm-strip-14 || command -v llvm-strip)
"$clang" -O2 -Wall -Wextra -Wno-unused-parameter -target bpfel -mcpu=v3 -c network.bpf.c -o "$out"
"$strip" --strip-unneeded --remove-section=.llvm_addrsig --remove-section=.rodata "$out"
