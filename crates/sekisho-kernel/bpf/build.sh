#!/bin/sh
# Compiles the programs. The object is checked in, so only who changes them needs clang (14, for the same bytes).
set -eu
cd "$(dirname "$0")"
out=${1:-network.bpf.o}
clang -O2 -Wall -Wextra -Wno-unused-parameter -target bpfel -mcpu=v3 -c network.bpf.c -o "$out"
llvm-strip --strip-unneeded --remove-section=.llvm_addrsig --remove-section=.rodata "$out"
