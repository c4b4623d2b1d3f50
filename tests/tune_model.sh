#!/bin/sh
# SPDX-License-Identifier: MIT
# tune_model.sh - flashdec-tune model: the programs of every target, a modelled table, how a log is ranked
#
#     tune_model.sh FLASHDEC-TUNE LOG.jsonl.xz
set -u
tune=$(realpath "$1")
. "$(dirname "$0")/tune_lib.sh"
cd "$(dirname "$0")/.."
model() { # STATUS OPTION...
    status=$1
    shift
    expect "$status" "$tune" model "$@"
}

targets=$(sed -n 's/^ *{"name": "\([a-z0-9]*\)".*/\1/p' data/targets.json)
[ "$(echo "$targets" | wc -l)" = 10 ] || wrong "not ten targets"
for target in $targets; do
    model 0 --target "$target" --samples 0 --shapes tests/offline.shapes
    for op in attn linear softmax rope_append rmsnorm swiglu add argmax embed sample attn_merge; do
        awk -F '\t' -v op="$op" '$4 == "default" && $3 ~ "^" op ":" {n++} END {exit !n}' "$dir/out" ||
            wrong "$target has no pick for $op"
    done
done

# A resource table that only likes one configuration per kernel: the table's choices are among them.
model 0 --target mi210 --samples 0 --shapes tests/offline.shapes
tail -n +2 "$dir/out" | awk -F '\t' -v OFS='\t' 'BEGIN {print "titles"}
    {print $1, $2, "mi210", $3, $5, $4, $6, 64, 1024, 0, 0, 50, 0, 128, "-", "ok", $9}' >"$dir/resources"
echo 'linear:f16 m=1 n=4096 k=4096' >"$dir/shapes"
echo 'linear:f16 m=8 n=4096 k=4096' >>"$dir/shapes"
echo 'attn:f16 b=1 h=32/8 d=128 n=4096' >>"$dir/shapes"
modelled="--resources $dir/resources --shapes $dir/shapes"
model 0 --target mi210 $modelled --out "$dir/table.json"
says 'modelled, never measured'
expect 0 "$tune" check "$dir/table.json"
grep -q '"modelled":true' "$dir/table.json" || wrong "the table is not marked as modelled"
model 0 --target mi210 $modelled --out "$dir/again.json"
cmp "$dir/table.json" "$dir/again.json" || wrong "the same input gives another table"

model 1 --target h100 $modelled --out "$dir/none.json"
says 'no row of'
[ ! -e "$dir/none.json" ] || wrong "a refused table was written"
model 1 --target nothing --samples 0 --shapes "$dir/shapes"
says 'is no target; there are: a100'
model 1 --target mi210 --resources "$dir/shapes" --shapes "$dir/shapes" --out "$dir/none.json"
says 'columns of tools/offline'
model 2 --target mi210
says 'model needs'

xz -dc "$2" >"$dir/log"
model 0 "$dir/log"
tail -n 1 "$dir/out" | awk -F ' *[|] *' '$3 >= 400 && $4 > -1 && $4 < 1 && $5 >= 1 {ok = 1} END {exit !ok}' || wrong "no rank of a log"
exit $failed
