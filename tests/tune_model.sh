#!/bin/sh
# SPDX-License-Identifier: MIT
# tune_model.sh - flashdec-tune model: the programs of every target, a modelled table, how a log is ranked
#
#     tune_model.sh FLASHDEC-TUNE LOG.jsonl.xz
set -eu
tune=$(realpath "$1")
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
refuses() { # TEXT COMMAND...
    text=$1
    shift
    "$@" >"$tmp/out" 2>&1 && fail "$* is accepted"
    grep -q "$text" "$tmp/out" || { cat "$tmp/out"; fail "$*: no word of '$text'"; }
}

targets=$(sed -n 's/^ *{"name": "\([a-z0-9]*\)".*/\1/p' data/targets.json)
[ "$(echo "$targets" | wc -l)" = 10 ] || fail "not ten targets"
for target in $targets; do
    "$tune" model --target "$target" --samples 0 --shapes tests/offline.shapes >"$tmp/$target"
    for op in attn linear softmax rope_append rmsnorm swiglu add argmax embed sample attn_merge; do
        awk -F '\t' -v op="$op" '$4 == "default" && $3 ~ "^" op ":" {n++} END {exit !n}' "$tmp/$target" ||
            fail "$target has no pick for $op"
    done
done

# A resource table that only likes one configuration per kernel: the table's choices are among them.
tail -n +2 "$tmp/mi210" | awk -F '\t' -v OFS='\t' 'BEGIN {print "titles"}
    {print $1, $2, "mi210", $3, $5, $4, $6, 64, 1024, 0, 0, 50, 0, 128, "-", "ok", $9}' >"$tmp/resources"
echo 'linear:f16 m=1 n=4096 k=4096' >"$tmp/shapes"
echo 'linear:f16 m=8 n=4096 k=4096' >>"$tmp/shapes"
echo 'attn:f16 b=1 h=32/8 d=128 n=4096' >>"$tmp/shapes"
"$tune" model --target mi210 --resources "$tmp/resources" --shapes "$tmp/shapes" --out "$tmp/table.json" 2>"$tmp/err"
grep -q 'modelled, never measured' "$tmp/err" || fail "it does not say what the table is"
"$tune" check "$tmp/table.json" >"$tmp/summary" || fail "the table is not valid"
grep -q '"modelled":true' "$tmp/table.json" || fail "the table is not marked as modelled"
"$tune" model --target mi210 --resources "$tmp/resources" --shapes "$tmp/shapes" --out "$tmp/again.json" 2>/dev/null
cmp "$tmp/table.json" "$tmp/again.json" || fail "the same input gives another table"

refuses 'no row of' "$tune" model --target h100 --resources "$tmp/resources" --shapes "$tmp/shapes" --out "$tmp/none.json"
[ ! -e "$tmp/none.json" ] || fail "a refused table was written"
refuses 'is no target; there are: a100' "$tune" model --target nothing --samples 0 --shapes "$tmp/shapes"
refuses 'columns of tools/offline' "$tune" model --target mi210 --resources "$tmp/shapes" --shapes "$tmp/shapes" --out "$tmp/none.json"
refuses 'model needs' "$tune" model --target mi210

xz -dc "$2" >"$tmp/log"
"$tune" model "$tmp/log" | tail -n 1 | awk -F ' *[|] *' '$3 >= 400 && $4 > -1 && $4 < 1 && $5 >= 1 {ok = 1} END {exit !ok}' ||
    fail "no rank of a log"
