#!/bin/sh
# SPDX-License-Identifier: MIT
# tune_pairs.sh - the tuner's check refuses no good candidate: none of 1,000 pairs of a configuration and a problem
#
#     tune_pairs.sh TUNE_CHECK LEAST CONFIGS       at least so many pairs; of so many configurations of each kernel
set -eu
tune_check=$1 least=$2 configs=$3 total=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# check KERNELS PROBLEM...
check() {
    kernels=$1
    shift
    "$tune_check" --configs "$configs" --kernel "$kernels" "$@" >"$out" || {
        status=$?
        cat "$out"
        exit $status
    }
    total=$((total + $(sed -n 's/^\([0-9]*\) pairs.*/\1/p' "$out")))
}

set --
for cols in 1 3 16 17 64 100 127 257 511 1000 1025 2000 4097; do
    set -- "$@" "softmax:f32 rows=1 cols=$cols" "softmax:f32 rows=7 cols=$cols"
done
check softmax/ "$@"

set --
for m in 1 2 3 4 5 7 8 9 16 17 31 33; do
    set -- "$@" "linear:f32 m=$m n=70 k=150" "linear:f32 m=$m n=33 k=64" "linear:f32 m=$m n=5 k=259"
done
check linear/vec "$@"

set --
for n in 1 2 15 16 17 31 33 64 65 100 127 129 200; do
    set -- "$@" "attn:f32 b=1 h=8/2 d=64 n=$n" "attn:f32 b=3 h=8/2 d=64 n=$n"
done
check attn/vec "$@"

echo "$total pairs, none refused"
[ "$total" -ge "$least" ]
