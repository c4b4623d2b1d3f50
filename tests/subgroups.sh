#!/bin/sh
# SPDX-License-Identifier: MIT
# subgroups.sh - the kernels that shuffle, run in sub-groups of 32 and of 64; skipped where tools/pocl6 has no PoCL 6
#
#     subgroups.sh CHECKCL
set -eu
checkcl=$1
pocl6=$(dirname "$0")/../tools/pocl6
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

"$pocl6" --installed "$checkcl" --help >/dev/null 2>"$tmp/err" || [ $? -ne 3 ] || { cat "$tmp/err"; exit 77; }
export FLASHDEC_CACHE_DIR="$tmp/cache" POCL_CACHE_DIR="$tmp/pocl" FLASHDEC_LOG=all
for wave in 32 64; do
    for kernel in attn/wg-unified linear/wg-gemv softmax/online; do
        FLASHDEC_PRETEND=wave=$wave "$pocl6" "$checkcl" --style wg --op ${kernel%/*} --kernel $kernel >"$tmp/out" 2>"$tmp/log" || {
            tail -n 20 "$tmp/out"
            fail "$kernel in sub-groups of $wave"
        }
        grep -q -- "-DSHUFFLE=3 -DWAVE=$wave" "$tmp/log" || fail "$kernel did not shuffle"
        echo "$kernel, sub-groups of $wave: $(tail -n 1 "$tmp/out")"
    done
done
