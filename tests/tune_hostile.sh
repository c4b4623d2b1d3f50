#!/bin/sh
# SPDX-License-Identifier: MIT
# tune_hostile.sh - fifteen hostile candidates: each is named for what it is, costs no more than its limit, is tried no more often
# than allowed, and none gets into the table
#
#     tune_hostile.sh FLASHDEC-TUNE HOSTILE_CL.so
#
# Kernels are changed in single configurations through FLASHDEC_CL_DIR; where the driver has to misbehave, hostile_cl.c does.
# A wrong kernel is denied in all configurations, so not all fit into one run; the library's own choice always stays as it is.
set -u
tune=$1 shim=$2
dir=$(mktemp -d)
watcher=
trap '[ -z "$watcher" ] || kill "$watcher" 2>/dev/null; rm -rf "$dir"' EXIT
export XDG_STATE_HOME="$dir/state" XDG_DATA_HOME="$dir/data" XDG_CACHE_HOME="$dir/cache" POCL_CACHE_DIR="$dir/pocl"
export FLASHDEC_CL_DIR="$dir/cl"
mkdir "$POCL_CACHE_DIR" "$FLASHDEC_CL_DIR"
cp "$(dirname "$0")"/../cl/* "$FLASHDEC_CL_DIR"
echo 'softmax:f32 rows=1 cols=500' >"$dir/list"
build_s=20 first_s=3
failed=0

wrong() {
    echo "FAIL: $*" >&2
    sed 's/^/    /' "$dir/out" "$dir/err" >&2
    failed=1
}

# mutate PROGRAM: awk rules that set `first` or `last`, code for the begin or the end of a kernel's body
mutate() {
    awk "$1"'
        { at_end = /^}/ }
        at_end && last != "" { print last; last = "" }
        { print }
        /SOFTMAX_BUFFERS\(BUFFER_BEGIN\)/ && first != "" { print first; first = "" }
    ' "$(dirname "$0")/../cl/softmax.cl" >"$FLASHDEC_CL_DIR/softmax.cl"
}

# tune [VARIABLE=VALUE...]: everything there is, within short limits
tune() {
    env LD_PRELOAD="$shim" "$@" "$tune" --shapes "$dir/list" --budget 0 --limits $build_s,$first_s,2 --out "$dir/table.json" \
        >"$dir/out" 2>"$dir/err" || wrong "exit $? with hostile candidates"
}

says() {
    grep -q -e "$1" "$dir/err" || wrong "no '$1'"
}

# none_in_table PATTERN
none_in_table() {
    "$tune" check "$dir/table.json" >"$dir/out" 2>"$dir/checked" || wrong "the table is not valid"
    grep -q '"complete": *true' "$dir/table.json" || wrong "the table is not complete"
    grep -q 'rows=1 .*softmax/' "$dir/out" || wrong "no entry"
    if grep -q "rows=1 .*\($1\)" "$dir/out"; then
        wrong "a hostile candidate is in the table"
    fi
}

nothing_hostile() {
    if grep -q -e hang -e crash -e 'wrong result' -e 'compile ' -e lost -e non-det -e 'out of memory' -e constraint "$dir/err"; then
        wrong "a hostile candidate is tried once more than allowed"
    fi
}

# Writes when each line of the log came from here on, to a tenth of a second, so that a candidate's cost can be told.
watch() {
    seen=$(cat "$dir"/state/flashdec/*.jsonl 2>/dev/null | wc -l)
    while sleep 0.1; do
        there=$(cat "$dir"/state/flashdec/*.jsonl 2>/dev/null | wc -l)
        if [ "$there" -gt "$seen" ]; then
            cat "$dir"/state/flashdec/*.jsonl | sed -n "$((seen + 1)),${there}p" | sed "s/^/$(date +%s.%N) /"
            seen=$there
        fi
    done >"$dir/times" &
    watcher=$!
}

# cost_at_most: of candidates since watch, their limit and 2 s; and 2 s for a build that comes before the launch
cost_at_most() {
    sleep 0.5
    kill "$watcher"
    watcher=
    awk -v build="$build_s" -v first="$first_s" '
        /"line":"begin"/ { begun = $1 }
        /"line":"end"/ {
            n++
            limit = (/"compile timeout"/ ? build : first + 2) + 2
            if ($1 - begun > limit)
                print $1 - begun " s, more than " limit ": " $0
        }
        END { if (!n) print "no candidate was seen" }
    ' "$dir/times" >"$dir/slow"
    [ ! -s "$dir/slow" ] || wrong "$(cat "$dir/slow")"
}

# ---- they end the process, hang, or fail: eight, beside online VEC=16
mutate '
    /^kernel void softmax_online\(/ {
        first = "    volatile int forever = 1;\n    while (VEC == 4 && forever) {\n    }\n"
        first = first "    if (VEC == 1)\n        *(volatile global int *) (y_bytes + 8) = 1;"
    }
    /^kernel void softmax_three_pass\(/ {
        first = "    for (volatile int i = 0; VEC == 1 && i < 10000000; i++) {\n    }"
    }'
hostile_run() {
    tune HOSTILE_MEMORY='softmax_two_pass -DVEC=1' HOSTILE_RESOURCES='softmax_three_pass -DVEC=16' \
        HOSTILE_LOST='softmax_three_pass -DVEC=4' HOSTILE_ABORT='softmax_two_pass -DVEC=16' HOSTILE_EXIT='softmax_two_pass -DVEC=4'
}
watch
hostile_run
says 'hang: softmax/online@.* VEC=4 .*phase first'
says 'crash: softmax/online@.* VEC=1 .*signal 11'
says 'crash: softmax/two-pass@.* VEC=16 .*signal 6'
says 'crash: softmax/two-pass@.* VEC=4 .*exit status 0'
says 'out of memory: softmax/two-pass@.* VEC=1 '
says 'constraint: softmax/three-pass@.* VEC=16 .*CL_OUT_OF_RESOURCES'
says 'device lost: softmax/three-pass@.* VEC=4 '
grep -q '"end","kernel":"softmax/three-pass".*VEC=1".*"slow"' "$dir"/state/flashdec/*.jsonl || wrong "100 times slower is not slow"
none_in_table 'online .*VEC=[14]\>\|two-pass\|three-pass'
hostile_run # what took its worker down is tried a second time, then never again
cost_at_most
says 'hang: softmax/online'
says 'crash: softmax/two-pass@.* VEC=4'
says 'device lost: softmax/three-pass'
grep -q -e 'out of memory' -e constraint "$dir/err" && wrong "what was refused is tried again"
hostile_run
nothing_hostile
"$tune" check "$dir/table.json" >"$dir/out" 2>"$dir/checked" || wrong "the table is not valid"
for denied in 'online@1 VEC=4 WG=1 .*hang' 'two-pass@1 VEC=16 WG=1 .*crash' 'three-pass@1 VEC=4 WG=1 .*device lost'; do
    grep -q "denied: softmax/$denied" "$dir/out" || wrong "no '$denied' in the deny list"
done

# ---- one wrong element, no write; then, as only online is left, a log of 100 MB and a compiler that does not end
mutate '
    BEGIN {
        bomb = "#if VEC == 1\n#define B0(x) x+x+x+x+x+x+x+x+x+x\n"
        for (i = 1; i < 12; i++)
            bomb = bomb sprintf("#define B%d(x) B%d(B%d(x))\n", i, i - 1, i - 1)
        print bomb "constant int bomb = B11(1);\n#endif"
    }
    /^kernel void softmax_two_pass\(/   { last = "    y[77] *= 1.01f;" }
    /^kernel void softmax_three_pass\(/ { first = "    if (cols > 0)\n        return;" }'
build_s=12
hostile_run() {
    tune HOSTILE_LOG=-DVEC=4
}
watch
hostile_run
says 'wrong result: softmax/two-pass@.* out\[77\] of 500'
says 'wrong result: softmax/three-pass@'
says 'compile error: softmax/online@.* VEC=4 .*CL_BUILD_PROGRAM_FAILURE'
says 'compile timeout: softmax/online@.* VEC=1 .*phase build'
none_in_table 'VEC=[14]\>\|two-pass\|three-pass'
[ "$(grep -c 'denied: softmax/t' "$dir/out")" -eq 2 ] || wrong "a wrong kernel is not denied"
hostile_run
cost_at_most
says 'compile timeout: softmax/online'
grep -q -e 'compile error' -e 'wrong result' "$dir/err" && wrong "a program that does not build, or is wrong, is tried again"
hostile_run
nothing_hostile

# ---- NaN, and a write outside
mutate '
    /^kernel void softmax_two_pass\(/   { last = "    y[cols - 1] = NAN;" }
    /^kernel void softmax_three_pass\(/ { last = "    y[cols] = 0.0f;" }'
tune
says 'wrong result: softmax/two-pass@.* out\[499\] of 500'
says 'wrong result: softmax/three-pass@.* wrote where it must not'
none_in_table 'two-pass\|three-pass'

# ---- right, but other bits at each run; from a counter that x86 alone has
if [ "$(uname -m)" != x86_64 ]; then
    exit $failed
fi
mutate '
    /^kernel void softmax_two_pass\(/ {
        last = "    const ulong ticks = __builtin_ia32_rdtsc();\n"
        last = last "    for (int i = 0; i < 16; i++)\n        y[i] = as_float(as_int(y[i]) ^ (int) (ticks >> i & 1));"
    }'
tune
says 'non-deterministic: softmax/two-pass@'
none_in_table 'two-pass'
tune
nothing_hostile

exit $failed
