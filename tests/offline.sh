#!/bin/sh
# SPDX-License-Identifier: MIT
# offline.sh - the short form of tools/offline, and that it sees what it is there to see; skipped without compilers
#
#     offline.sh FLASHDEC-TUNE        in the project's folder
set -eu
FLASHDEC_TUNE=$(realpath "$1")
export FLASHDEC_TUNE
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

status=0
tools/offline --short --installed >"$tmp/rows" 2>"$tmp/err" || status=$?
[ $status -ne 3 ] || { cat "$tmp/err"; exit 77; }
cat "$tmp/err"
[ $status -eq 0 ] || { awk -F '\t' '$16 != "ok"' "$tmp/rows"; fail "kernels that are not as they should be"; }
for target in mi210 a100; do
    for op in attn linear softmax append sample; do
        awk -F '\t' -v t=$target -v op="$op" '$3 == t && $6 == "default" && $4 ~ op {n++} END {exit !n}' "$tmp/rows" ||
            fail "no pick of $op for $target"
    done
done
