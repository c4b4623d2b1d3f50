#!/bin/sh
# SPDX-License-Identifier: MIT
# tune_smoke.sh - flashdec-tune from a model to a table that the library uses
#
#     tune_smoke.sh FLASHDEC-TUNE FLASHDEC-INFO FLASHDEC-RUN FLASHDEC-BENCH MODEL.gguf
set -u
tune=$1 info=$2 run=$3 bench=$4 model=$5
. "$(dirname "$0")/tune_lib.sh"
unset FLASHDEC_TABLE FLASHDEC_TABLE_PATH FLASHDEC_TABLE_ONLY FLASHDEC_RECORD

# Usage.
expect 2 "$tune" --nonsense
expect 2 "$tune" nonsense
expect 2 "$tune" --budget soon
expect 2 "$tune" --limits 1,2
expect 1 "$tune" --replay "$dir/no-such-log"
for later in merge verify export report model; do
    expect 2 "$tune" $later
done
expect 1 "$tune" --shapes "$dir/no-such-model"
says 'no preset'
for preset in llama2-7b:q9 llama2-7b:q4_0:folded chatglm2-6b:q4_k llama2; do
    expect 1 "$tune" --shapes $preset
done
echo 'linear:f32 m=0 n=8 k=8' >"$dir/list"
expect 1 "$tune" --shapes "$dir/list"
expect 0 "$tune" --help
for option in $(grep -o -e '--[a-z-]*' "$dir/out" | sort -u); do
    grep -qF -e "$option" "$(dirname "$0")/../docs/flashdec-tune.1.scd" || wrong "$option is not in the man page"
done

# A model, a short budget: a table in the user's directory, nothing left behind.
# On a machine under load the probes alone may take that long: each run goes on where the last one stopped.
for attempt in 1 2 3 4 5 6; do
    "$tune" --shapes "$model" --budget 14 >"$dir/out" 2>"$dir/err" && break
    grep -q 'nothing was measured' "$dir/err" || break
done
table=$(echo "$dir"/data/flashdec/*.json)
log=$(echo "$dir"/state/flashdec/*.jsonl)
[ -f "$table" ] || wrong "no table"
[ -f "$log" ] || wrong "no log"
[ -z "$(find "$dir/state" -name 'work.*')" ] || wrong "a work directory is left"
grep -q '"outcome":"ok"' "$log" || wrong "nothing was measured"
expect 0 "$tune" check "$table"
says '^linear:'

# The same log, the same bytes.
expect 0 "$tune" build "$log" --out "$dir/a.json"
expect 0 "$tune" build "$log" --out "$dir/b.json"
cmp "$dir/a.json" "$dir/b.json" || wrong "two builds of one log differ"
cmp "$dir/a.json" "$table" || wrong "the table is not what its log gives"

# A torn last line and a damaged one are dropped aloud; the rest counts.
cp "$log" "$dir/torn.jsonl"
printf '{"line":"begin","ker' >>"$dir/torn.jsonl"
expect 0 "$tune" build "$dir/torn.jsonl" --out "$dir/a.json"
says 'torn'
cmp "$dir/a.json" "$table" || wrong "a torn line changed the table"
sed '0,/"outcome":"ok"/s/"median_ns":/"median_ns":1/' "$log" >"$dir/damaged.jsonl"
expect 0 "$tune" build "$dir/damaged.jsonl" --out "$dir/a.json"
says 'damaged line'
: >"$dir/empty.jsonl"
expect 1 "$tune" build "$dir/empty.jsonl" --out "$dir/c.json"
[ ! -e "$dir/c.json" ] || wrong "a table of an empty log"
sed 's/"median_ns": *\([0-9]\)/"median_ns": 9\1/' "$table" >"$dir/forged.json"
expect 1 "$tune" check "$dir/forged.json"

# The library finds it.
expect 0 "$info"
says "$(basename "$table")"
expect 0 "$run" -m "$model" -n 4 --temp 0 --stats json
says '"table_level": *1'

# A run's shapes, recorded: a list of attention, linear and softmax that the tuner takes, each line once.
expect 0 env FLASHDEC_RECORD="$dir/recorded" "$run" -m "$model" -n 20 --temp 0 --ignore-eos
for op in attn linear; do
    grep -q "^$op:" "$dir/recorded" || wrong "no $op was recorded"
done
[ "$(grep -c 'm=1 ' "$dir/recorded")" -gt 0 ] || wrong "no decoding step was recorded"
[ -z "$(grep -v -e '^attn:' -e '^linear:' -e '^softmax:' "$dir/recorded")" ] || wrong "other lines were recorded"
expect 0 "$tune" --shapes "$dir/recorded" --budget 1 --out "$dir/recorded.json"
expect 1 env FLASHDEC_RECORD="$dir/none/recorded" "$run" -m "$model" -n 1
says 'FLASHDEC_RECORD=.*cannot open'

# From a recorded shape to a table that knows it: without the table it is refused, with it it is not.
shape='softmax --rows 3 --cols 80' # recorded as rows=2 and rows=3, the plan's own
only() { env FLASHDEC_TABLE_ONLY=1 FLASHDEC_PRETEND=local=32768 "$@"; }
# shellcheck disable=SC2086 # words
expect 1 only "$bench" $shape
says 'FLASHDEC_TABLE_ONLY=1, and .*level [3-6]'
# shellcheck disable=SC2086
expect 0 env FLASHDEC_RECORD="$dir/shape" FLASHDEC_PRETEND=local=32768 "$bench" $shape
[ "$(sort "$dir/shape" | tr '\n' ,)" = 'softmax:f32 rows=2 cols=80,softmax:f32 rows=3 cols=80,' ] || wrong "the benchmark's shape was not recorded"
expect 0 env FLASHDEC_PRETEND=local=32768 "$tune" --shapes "$dir/shape" --budget 0
# shellcheck disable=SC2086
expect 0 only "$bench" $shape

# A complete log replayed: whatever the strategy, at the end nothing is slower than the best of the log, the table is that
# of the log, and the same seed repeats byte for byte.
whole=$(grep -l '"complete":true' "$dir"/state/flashdec/*.jsonl | head -n 1)
[ -n "$whole" ] || wrong "no log is complete"
expect 0 "$tune" build "$whole" --out "$dir/built.json"
for strategy in default random local exhaustive; do
    expect 0 "$tune" --replay "$whole" --strategy $strategy --seed 5 --out "$dir/replayed.json"
    cp "$dir/out" "$dir/curve"
    [ "$(tail -n 1 "$dir/out" | cut -d , -f 2-)" = 1.0000,1.0000,1.0000 ] || wrong "$strategy does not end at the optimum"
    cmp "$dir/built.json" "$dir/replayed.json" || wrong "$strategy: another table than that of the log"
    expect 0 "$tune" --replay "$whole" --strategy $strategy --seed 5
    cmp "$dir/out" "$dir/curve" || wrong "$strategy does not repeat"
done

# A table measured again, whatever comes out on a busy machine. It is that of the pretended device by now.
export FLASHDEC_PRETEND=local=32768
"$tune" verify "$table" --budget 15 >"$dir/out" 2>"$dir/err"
[ $? -le 1 ] || wrong "verify: neither 0 nor 1"
says '^[1-9][0-9]* of [0-9]* entries measured'
says 'of the default (table: .*): \(holds\|SLOWER\)'

# Two tables become one, in any order the same; what a run does not have stays in the table that it writes.
expect 0 "$tune" merge "$table" "$dir/built.json" --out "$dir/one.json"
expect 0 "$tune" merge "$dir/built.json" "$table" --out "$dir/other.json"
cmp "$dir/one.json" "$dir/other.json" || wrong "the order of merged tables matters"
expect 0 "$tune" check "$dir/one.json"
says '^merged from'
says '^softmax:f32 cols=80'
expect 1 "$tune" merge "$table" "$dir/no-such-table" --out "$dir/three.json"
[ ! -e "$dir/three.json" ] || wrong "a table out of one that is not there"
cp "$table" "$dir/joined.json"
entries=$("$tune" check "$table" | grep -c ' us')
echo 'softmax:f32 rows=1 cols=90' >"$dir/list"
expect 0 "$tune" --shapes "$dir/list" --budget 20 --fresh --out "$dir/joined.json"
expect 0 "$tune" check "$dir/joined.json"
says '^softmax:f32 cols=90'
[ "$(grep -c ' us' "$dir/out")" -gt "$entries" ] || wrong "what another run had measured is gone"

# What is no table, or one of another driver, gives way aloud.
echo '{' >"$dir/joined.json"
expect 0 "$tune" --shapes "$dir/list" --budget 20 --out "$dir/joined.json"
says 'is replaced as a whole: table .*joined.json: '
expect 0 "$tune" check "$dir/joined.json"
unset FLASHDEC_PRETEND

# Two tables side by side.
expect 0 "$tune" diff "$table" "$table"
says ' the same, 0 with another time, 0 with another choice or range, 0 gone, 0 new$'
expect 0 "$tune" diff "$table" "$dir/recorded.json"
expect 1 "$tune" diff "$table" "$dir/forged.json"
expect 2 "$tune" diff "$table"

# A choice holds as far as the rule's own is the one that it was measured against: from M = 2 on that is no GEMV.
printf '%s\n' 'linear:f32 m=1 n=64 k=64' 'linear:f32 m=8 n=64 k=64' >"$dir/apart"
expect 0 "$tune" --shapes "$dir/apart" --budget 25 --out "$dir/apart.json"
expect 0 "$tune" check "$dir/apart.json"
says '^ *m=1  '
says '^ *m=8  '

exit $failed
